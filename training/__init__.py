"""LLM post-training in JAX: data, models, training, generation, judging.

It works alone, in a script or a notebook, and importing this package imports no JAX::

    from pathlib import Path
    from tailrace.formats.data.golden import golden_v2
    from tailrace.formats.data.prediction import ModelRole
    from tailrace.formats.spec.run_spec import InferSpec, ModelSpec, TrainSpec
    from training.evalsets import load_eval_set
    from training.generate.predict import Evaluated, predict
    from training.loop.fit import fit
    from training.loop.start import prepare
    from training.observer import Observer

    train = TrainSpec(max_steps=400, batch_size=16, learning_rate=1e-3)
    start = prepare(ModelSpec(preset="gpt2-nano"), train, golden_v2())
    result = fit(start, train, Path("checkpoints"), Path("final_model"), Observer())
    model, questions = Evaluated.open(Path("final_model")), {"eval_v1": load_eval_set("eval_v1")}
    predictions = predict(model, questions, InferSpec(), ModelRole.TRAINED, Observer())
"""
