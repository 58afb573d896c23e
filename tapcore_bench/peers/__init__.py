"""Side by side with other software.

`equal_time`
    Log-likelihood of test data after equal times of training: recipes of ours, scikit-learn's BernoulliRBM and `rbms`
    (PyTorch). The environment of `rbms` is made once, by the first line; without, it is left out. Nothing else should
    run while machines are trained, for which `--only train` is enough; scoring, by the second line, can wait. Whatever
    was stored is not done again. Data are binary MNIST (`TAPCORE_DATA`), or scikit-learn's digits by `--data digits`::

        python -m tapcore_bench.peers.rbms_peer
        python -m tapcore_bench.peers.equal_time --times 10,30,60 --csv runs/equal.csv --picture runs/equal.png

`recipes`
    The recipe of `fit` beside Alg. 2, on data and units of all kinds.

`log_z`
    What an error of ln Z costs, by the ladder along a run and by annealing.

`bernoulli_rbm`
    Time of an epoch beside scikit-learn's.
"""
