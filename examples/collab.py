"""Who will like which movie? The lesson's ratings, learned by a net with two inputs.

`minnet demo collab` shows the whole table at once. This is the same model as one meets it
elsewhere: a row is one rating, and an embedding looks up the five numbers of its user and of its
movie. Writes collab.xlsx, in which a step on six ratings is live, and collab.svg, a picture.
"""

import numpy as np

import minnet
from minnet import Add, Dot, Embedding, Flatten, Input, Model
from minnet.demos.collab import FACTORS, MOVIES, USERS, table

_, stars = table()  # (15, 15), 0 where nobody rated
user, movie = np.nonzero(stars)
rating = stars[user, movie][:, None]
user, movie = user[:, None], movie[:, None]

# Each user and movie by its place in the table.
a, b = Input((1,), int, "user"), Input((1,), int, "movie")


def row(count: int, width: int, index: object, name: str) -> object:
    table = Embedding(count, width, "normal", embeddings_regularizer="l2", name=name)
    return Flatten(name=f"{name}_row")(table(index))


match = Dot(1, name="match")(
    [row(len(USERS), FACTORS, a, "taste"), row(len(MOVIES), FACTORS, b, "style")]
)
generous, good = row(len(USERS), 1, a, "generous"), row(len(MOVIES), 1, b, "good")
model = Model([a, b], Add(name="rating")([match, generous, good]), name="collab", seed=0)
model.summary()

# Every tenth rating is kept back: a net of 180 numbers learns 185 ratings by heart.
minnet.seed(0)
known = np.arange(len(rating)) % 10 > 0
mean = rating[known].mean()
model.compile(minnet.Adam(0.02), "mse")
model.fit([user[known], movie[known]], rating[known] - mean, epochs=30, batch_size=16, verbose=0)
off = np.abs(model.predict([user, movie]) + mean - rating)
always = np.abs(rating - mean)
for where, rows in (("it has learned", known), ("it has not", ~known)):
    print(f"where {where}, off by {off[rows].mean():.2f} stars; "
          f"always saying {mean:.1f} is off by {always[rows].mean():.2f}")  # fmt: skip

model.plot("collab.svg")
export = model.export_xlsx([user[:6], movie[:6]], (rating - mean)[:6], "collab.xlsx")
print(f"{export.path}: {export.formulas:,} live formulas")
