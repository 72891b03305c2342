"""py-irt: variational posterior means under its default priors, after its default number of epochs."""

from importlib.metadata import version

import pyro  # type: ignore[import-not-found]
from py_irt.config import IrtConfig  # type: ignore[import-not-found]
from py_irt.dataset import Dataset  # type: ignore[import-not-found]
from py_irt.training import IrtModelTrainer  # type: ignore[import-not-found]
from tests.bench.workers.protocol import Task, timed

task = Task.from_arguments()
student, item, correct = task.load()
students, items = [str(i) for i in range(task.n_students)], [str(j) for j in range(task.n_items)]


def fit() -> IrtModelTrainer:
    """Train once."""
    data = Dataset(
        item_ids=set(items),
        subject_ids=set(students),
        item_id_to_ix={name: j for j, name in enumerate(items)},
        ix_to_item_id=dict(enumerate(items)),
        subject_id_to_ix={name: i for i, name in enumerate(students)},
        ix_to_subject_id=dict(enumerate(students)),
        observation_subjects=student.tolist(),
        observation_items=item.tolist(),
        observations=correct.astype(float).tolist(),
        training_example=[True] * len(correct),
    )
    pyro.set_rng_seed(20_260_131)
    trainer = IrtModelTrainer(data_path=None, config=IrtConfig(model_type="2pl"), dataset=data, verbose=False)
    trainer.train()
    return trainer


trainer, times = timed(fit)
estimates = trainer.last_params
task.finish(
    estimates["disc"],
    estimates["diff"],
    version=version("py-irt"),
    **times,
    iterations=trainer._config.epochs,
    converged=None,
    own_log_likelihood=None,
)
