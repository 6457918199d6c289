"""A strategy that trains models of each kind that Tidegate names, as its author would write it."""

from typing import Any

import numpy as np

from runtime import ModelSlot, Resolution, Strategy


class Learner(Strategy):
    """Learns which side of a line a point is on; `warm` is what the model before had learned."""

    def initialize(self) -> None:
        self.add_equity("SPY", Resolution.TICK)
        self.slot = ModelSlot("side")
        random = np.random.default_rng(1)
        self.x = random.normal(size=(2_000, 4))
        self.y = (self.x @ np.array([1.0, -2.0, 0.5, 0.0]) > 0).astype(int)

    def sklearn(self) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        model = HistGradientBoostingClassifier(max_iter=20, random_state=1)
        return make_pipeline(StandardScaler(), model).fit(self.x, self.y)

    def lightgbm(self) -> Any:
        import lightgbm

        data = lightgbm.Dataset(self.x, self.y)
        settings = {"objective": "binary", "verbose": -1, "seed": 1}
        return lightgbm.train(settings, data, 20, init_model=self.slot.current)

    def river(self) -> Any:
        from river import compose, linear_model, preprocessing

        before = self.slot.current
        model = before or compose.Pipeline(
            preprocessing.StandardScaler(), linear_model.LogisticRegression()
        )
        for row, side in zip(self.x[:500], self.y, strict=False):
            model.learn_one(dict(enumerate(row.tolist())), bool(side))
        return model

    def torch(self) -> Any:
        import torch

        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        x, y = torch.tensor(self.x).float(), torch.tensor(self.y).float()
        for _ in range(100):
            optimizer.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], y)
            loss.backward()
            optimizer.step()
        return model


def score(model: Any, learner: Learner) -> float:
    """Return the share of points that the model puts on the right side."""
    x = learner.x[-200:]
    if hasattr(model, "predict_one"):
        said = [bool(model.predict_one(dict(enumerate(row.tolist())))) for row in x]
    elif hasattr(model, "state_dict"):
        import torch

        said = (model(torch.tensor(x).float())[:, 0] > 0).tolist()
    else:
        said = (np.asarray(model.predict(x)) > 0.5).tolist()
    return float(np.mean(np.asarray(said) == learner.y[-200:]))
