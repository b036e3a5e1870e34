"""Which film would you like? A net with two inputs learns tastes and styles from ratings.

Each user and each film gets two numbers (an embedding), a rating is nearly their dot product, plus
how generous the user and how good the film is. Writes films.xlsx, in which all of it is live, and
films.svg, a picture of the net.
"""

import numpy as np

import minnet
from minnet import Add, Dot, Embedding, Flatten, Input, Model

USERS, FILMS = 8, 6


def ratings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three quarters of all ratings: users, films, stars from about 1 to 5."""
    rng = np.random.default_rng(0)
    taste, style = rng.normal(size=(USERS, 2)), rng.normal(size=(2, FILMS))
    stars = 3 + taste @ style + 0.5 * rng.normal(size=(USERS, 1)) + 0.5 * rng.normal(size=FILMS)
    user, film = np.indices(stars.shape).reshape(2, -1, 1)
    seen = rng.permutation(stars.size)[: stars.size * 3 // 4]
    return user[seen], film[seen], stars.reshape(-1, 1)[seen]


def network() -> Model:
    user, film = Input((1,), int, "user"), Input((1,), int, "film")

    def row(count: int, width: int, index: object, name: str) -> object:
        table = Embedding(count, width, "normal", embeddings_regularizer="l2", name=name)
        return Flatten(name=f"{name}_row")(table(index))

    match = Dot(1, name="match")([row(USERS, 2, user, "taste"), row(FILMS, 2, film, "style")])
    generous, good = row(USERS, 1, user, "generous"), row(FILMS, 1, film, "good")
    return Model([user, film], Add(name="rating")([match, generous, good]), name="films", seed=0)


if __name__ == "__main__":
    minnet.seed(0)
    user, film, stars = ratings()
    mean = stars.mean()
    model = network()
    model.summary()
    model.compile(minnet.Adam(0.05), "mse")
    model.fit([user, film], stars - mean, epochs=60, batch_size=12, verbose=0)
    error = np.abs(model.predict([user, film]) + mean - stars).mean()
    print(f"off by {error:.2f} stars on average, where always saying {mean:.1f} is off by "
          f"{np.abs(stars - mean).mean():.2f}")  # fmt: skip
    model.plot("films.svg")
    export = model.export_xlsx([user[:6], film[:6]], (stars - mean)[:6], "films.xlsx")
    print(f"{export.path}: {export.formulas:,} live formulas")
