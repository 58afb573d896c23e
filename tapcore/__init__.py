"""Boltzmann machines as TAP machines: trained, scored and used through fixed points of the TAP equations.

Names load when they are first used, so that importing the package compiles nothing and the command line answers at
once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tapcore import datasets as datasets
    from tapcore import exact as exact
    from tapcore import special as special
    from tapcore.channels import BinarySymmetric as BinarySymmetric
    from tapcore.channels import Erasure as Erasure
    from tapcore.channels import GaussianNoise as GaussianNoise
    from tapcore.checkpoint import CheckpointError as CheckpointError
    from tapcore.checkpoint import load as load
    from tapcore.checkpoint import save as save
    from tapcore.denoising import Posterior as Posterior
    from tapcore.denoising import denoise as denoise
    from tapcore.denoising import f1_score as f1_score
    from tapcore.denoising import matthews_correlation as matthews_correlation
    from tapcore.denoising import nearest_neighbours as nearest_neighbours
    from tapcore.denoising import pointwise as pointwise
    from tapcore.denoising import posterior as posterior
    from tapcore.energy import free_energy as free_energy
    from tapcore.inference.given import Clamped as Clamped
    from tapcore.inference.harvest import harvest as harvest
    from tapcore.inference.solution import Solutions as Solutions
    from tapcore.inference.solve import solve as solve
    from tapcore.inference.stability import spectral_radius as spectral_radius
    from tapcore.landscape import LandscapeStatistics as LandscapeStatistics
    from tapcore.landscape import merge_solutions as merge_solutions
    from tapcore.landscape import overlaps as overlaps
    from tapcore.landscape import statistics as statistics
    from tapcore.likelihood import log_likelihood as log_likelihood
    from tapcore.machine import DBM as DBM
    from tapcore.machine import RBM as RBM
    from tapcore.machine import Machine as Machine
    from tapcore.pseudo_likelihood import pseudo_log_likelihood as pseudo_log_likelihood
    from tapcore.sampling.annealed import AnnealedEstimate as AnnealedEstimate
    from tapcore.sampling.annealed import ais as ais
    from tapcore.sampling.gibbs import GibbsSampler as GibbsSampler
    from tapcore.sampling.gibbs import sample as sample
    from tapcore.sampling.replicas import ReplicaExchange as ReplicaExchange
    from tapcore.special import truncnorm as truncnorm
    from tapcore.starts import noisy_starts as noisy_starts
    from tapcore.starts import random_starts as random_starts
    from tapcore.starts import structured_starts as structured_starts
    from tapcore.tracking import Tracker as Tracker
    from tapcore.training.fit import FitResult as FitResult
    from tapcore.training.fit import fit as fit
    from tapcore.training.gradient import Gradient as Gradient
    from tapcore.training.gradient import gradient as gradient
    from tapcore.training.history import EpochRecord as EpochRecord
    from tapcore.training.history import History as History
    from tapcore.training.update_rules import L1 as L1
    from tapcore.training.update_rules import L2 as L2

# Where each public name lives, units apart; a module stands for itself.
_HOMES = {
    "AnnealedEstimate": "sampling.annealed",
    "BinarySymmetric": "channels",
    "CheckpointError": "checkpoint",
    "Clamped": "inference.given",
    "DBM": "machine",
    "EpochRecord": "training.history",
    "Erasure": "channels",
    "FitResult": "training.fit",
    "GaussianNoise": "channels",
    "GibbsSampler": "sampling.gibbs",
    "Gradient": "training.gradient",
    "History": "training.history",
    "L1": "training.update_rules",
    "L2": "training.update_rules",
    "LandscapeStatistics": "landscape",
    "Machine": "machine",
    "Posterior": "denoising",
    "RBM": "machine",
    "ReplicaExchange": "sampling.replicas",
    "Solutions": "inference.solution",
    "Tracker": "tracking",
    "ais": "sampling.annealed",
    "datasets": "datasets",
    "denoise": "denoising",
    "exact": "exact",
    "f1_score": "denoising",
    "fit": "training.fit",
    "free_energy": "energy",
    "gradient": "training.gradient",
    "harvest": "inference.harvest",
    "load": "checkpoint",
    "log_likelihood": "likelihood",
    "matthews_correlation": "denoising",
    "merge_solutions": "landscape",
    "nearest_neighbours": "denoising",
    "noisy_starts": "starts",
    "overlaps": "landscape",
    "pointwise": "denoising",
    "posterior": "denoising",
    "pseudo_log_likelihood": "pseudo_likelihood",
    "random_starts": "starts",
    "sample": "sampling.gibbs",
    "save": "checkpoint",
    "solve": "inference.solve",
    "special": "special",
    "spectral_radius": "inference.stability",
    "statistics": "landscape",
    "structured_starts": "starts",
    "truncnorm": "special.truncnorm",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
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
    return sorted([*__all__, *_units()])


def _units() -> dict[str, Any]:
    # Unit types make themselves known: a new one is a new file and nothing else.
    return dict(import_module("tapcore.units").UNITS)
