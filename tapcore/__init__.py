"""Boltzmann machines as TAP machines: trained, scored and used through fixed points of the TAP equations.

Names load when they are first used, so that importing the package compiles nothing and the command line answers at
once. Type checkers and editors read the imports, which never run; what runs reads the table below them, and the unit
types that are there. ``tests/test_public.py`` compares the two.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tapcore import special as special
    from tapcore.evaluation import exact as exact
    from tapcore.evaluation.annealed import AnnealedEstimate as AnnealedEstimate
    from tapcore.evaluation.annealed import ais as ais
    from tapcore.evaluation.equilibrium import Equilibrium as Equilibrium
    from tapcore.evaluation.likelihood import log_likelihood as log_likelihood
    from tapcore.evaluation.pseudo_likelihood import pseudo_log_likelihood as pseudo_log_likelihood
    from tapcore.evaluation.score import Score as Score
    from tapcore.evaluation.score import score as score
    from tapcore.inference.free_energy import free_energy as free_energy
    from tapcore.inference.outside import Clamped as Clamped
    from tapcore.inference.solution import Solutions as Solutions
    from tapcore.inference.solve import solve as solve
    from tapcore.landscape.barriers import Barriers as Barriers
    from tapcore.landscape.barriers import barriers as barriers
    from tapcore.landscape.curvature import curvatures as curvatures
    from tapcore.landscape.harvest import harvest as harvest
    from tapcore.landscape.stability import spectral_radius as spectral_radius
    from tapcore.landscape.starts import noisy_starts as noisy_starts
    from tapcore.landscape.starts import random_starts as random_starts
    from tapcore.landscape.starts import structured_starts as structured_starts
    from tapcore.landscape.statistics import LandscapeStatistics as LandscapeStatistics
    from tapcore.landscape.statistics import merge_solutions as merge_solutions
    from tapcore.landscape.statistics import overlaps as overlaps
    from tapcore.landscape.statistics import statistics as statistics
    from tapcore.landscape.tracking import Tracker as Tracker
    from tapcore.landscape.trees import SolutionTree as SolutionTree
    from tapcore.landscape.trees import solution_tree as solution_tree
    from tapcore.machine import DBM as DBM
    from tapcore.machine import RBM as RBM
    from tapcore.machine import Machine as Machine
    from tapcore.priors.channels import BinarySymmetric as BinarySymmetric
    from tapcore.priors.channels import Erasure as Erasure
    from tapcore.priors.channels import GaussianNoise as GaussianNoise
    from tapcore.priors.denoising import Posterior as Posterior
    from tapcore.priors.denoising import denoise as denoise
    from tapcore.priors.denoising import nearest_neighbours as nearest_neighbours
    from tapcore.priors.denoising import pointwise as pointwise
    from tapcore.priors.denoising import posterior as posterior
    from tapcore.priors.scores import f1_score as f1_score
    from tapcore.priors.scores import matthews_correlation as matthews_correlation
    from tapcore.sampling.replicas import ReplicaExchange as ReplicaExchange
    from tapcore.sampling.sampler import GibbsSampler as GibbsSampler
    from tapcore.sampling.sampler import sample as sample
    from tapcore.sampling.trajectory import TrajectoryEstimate as TrajectoryEstimate
    from tapcore.sampling.trajectory import TrajectoryTempering as TrajectoryTempering
    from tapcore.special import truncnorm as truncnorm
    from tapcore.storage import datasets as datasets
    from tapcore.storage.machines import CheckpointError as CheckpointError
    from tapcore.storage.machines import load as load
    from tapcore.storage.machines import save as save
    from tapcore.training.fit import FitResult as FitResult
    from tapcore.training.fit import fit as fit
    from tapcore.training.gradient import Gradient as Gradient
    from tapcore.training.gradient import gradient as gradient
    from tapcore.training.history import EpochRecord as EpochRecord
    from tapcore.training.history import History as History
    from tapcore.training.optimisers import Adam as Adam
    from tapcore.training.optimisers import Momentum as Momentum
    from tapcore.training.penalties import L1 as L1
    from tapcore.training.penalties import L2 as L2
    from tapcore.training.run import Training as Training
    from tapcore.training.schedules import Constant as Constant
    from tapcore.training.schedules import Cosine as Cosine
    from tapcore.training.schedules import Linear as Linear
    from tapcore.training.schedules import Steps as Steps
    from tapcore.training.settings import Settings as Settings
    from tapcore.training.settings import paper_settings as paper_settings
    from tapcore.units.binary import Binary as Binary
    from tapcore.units.categorical import Categorical as Categorical
    from tapcore.units.double_relu import DoubleReLU as DoubleReLU
    from tapcore.units.gauss_bernoulli import GaussBernoulli as GaussBernoulli
    from tapcore.units.gaussian import Gaussian as Gaussian
    from tapcore.units.mixed import Mixed as Mixed
    from tapcore.units.ordinal import Ordinal as Ordinal
    from tapcore.units.relu import ReLU as ReLU
    from tapcore.units.spin import Spin as Spin
    from tapcore.units.truncated_gauss_bernoulli import TruncatedGaussBernoulli as TruncatedGaussBernoulli
    from tapcore.units.truncated_gaussian import TruncatedGaussian as TruncatedGaussian

# Where each public name lives, units apart; a module stands for itself.
_HOMES = {
    "paper_settings": "training.settings",
    "Steps": "training.schedules",
    "Linear": "training.schedules",
    "Cosine": "training.schedules",
    "Constant": "training.schedules",
    "Momentum": "training.optimisers",
    "Adam": "training.optimisers",
    "AnnealedEstimate": "evaluation.annealed",
    "Barriers": "landscape.barriers",
    "BinarySymmetric": "priors.channels",
    "CheckpointError": "storage.machines",
    "Clamped": "inference.outside",
    "DBM": "machine",
    "EpochRecord": "training.history",
    "Equilibrium": "evaluation.equilibrium",
    "Erasure": "priors.channels",
    "FitResult": "training.fit",
    "GaussianNoise": "priors.channels",
    "GibbsSampler": "sampling.sampler",
    "Gradient": "training.gradient",
    "History": "training.history",
    "L1": "training.penalties",
    "L2": "training.penalties",
    "LandscapeStatistics": "landscape.statistics",
    "Machine": "machine",
    "Mixed": "units.mixed",
    "Posterior": "priors.denoising",
    "RBM": "machine",
    "ReplicaExchange": "sampling.replicas",
    "Score": "evaluation.score",
    "Settings": "training.settings",
    "SolutionTree": "landscape.trees",
    "Solutions": "inference.solution",
    "Tracker": "landscape.tracking",
    "Training": "training.run",
    "TrajectoryEstimate": "sampling.trajectory",
    "TrajectoryTempering": "sampling.trajectory",
    "ais": "evaluation.annealed",
    "barriers": "landscape.barriers",
    "curvatures": "landscape.curvature",
    "datasets": "storage.datasets",
    "denoise": "priors.denoising",
    "exact": "evaluation.exact",
    "f1_score": "priors.scores",
    "fit": "training.fit",
    "free_energy": "inference.free_energy",
    "gradient": "training.gradient",
    "harvest": "landscape.harvest",
    "load": "storage.machines",
    "log_likelihood": "evaluation.likelihood",
    "matthews_correlation": "priors.scores",
    "merge_solutions": "landscape.statistics",
    "nearest_neighbours": "priors.denoising",
    "noisy_starts": "landscape.starts",
    "overlaps": "landscape.statistics",
    "pointwise": "priors.denoising",
    "posterior": "priors.denoising",
    "pseudo_log_likelihood": "evaluation.pseudo_likelihood",
    "random_starts": "landscape.starts",
    "sample": "sampling.sampler",
    "save": "storage.machines",
    "score": "evaluation.score",
    "solve": "inference.solve",
    "special": "special",
    "solution_tree": "landscape.trees",
    "spectral_radius": "landscape.stability",
    "statistics": "landscape.statistics",
    "structured_starts": "landscape.starts",
    "truncnorm": "special.truncnorm",
}


if not TYPE_CHECKING:  # a type checker that sees __getattr__ takes any name for a public one

    def __getattr__(name: str) -> Any:
        if name == "__all__":
            return __dir__()
        if name in _HOMES:
            home = import_module(f"tapcore.{_HOMES[name]}")
            value = getattr(home, name, home)
        elif name[:1].isupper() and name in (units := _units()):
            value = units[name]
        else:
            raise AttributeError(f"module 'tapcore' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(["__version__", *_HOMES, *_units()])


def _units() -> dict[str, Any]:
    # Unit types make themselves known: a new one is a new file, and an import above for type checkers.
    return dict(import_module("tapcore.units").UNITS)
