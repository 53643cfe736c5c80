rule train_one:
    input:
        train=f"{RESULTS}/ingest/train.h5",
        validation=f"{RESULTS}/ingest/validation.h5",
        transform=f"{RESULTS}/preprocess/transform.json",
        foreign=lambda wildcards: FOREIGN[wildcards.surrogate],
        # A repulsive member keeps away from those before it.
        before=lambda wildcards: (
            expand(
                f"{RESULTS}/train/{wildcards.surrogate}/{{run}}.h5",
                run=range(int(wildcards.run)),
            )
            if STUDY.method(wildcards.surrogate) == "repulsive"
            else []
        ),
        # The surrogate that this one is distilled from.
        teacher=lambda wildcards: [
            f"{RESULTS}/train/{name}/{wildcards.run}.h5"
            for name in STUDY.teachers(wildcards.surrogate)
        ],
    output:
        trained=f"{RESULTS}/train/{{surrogate}}/{{run}}.h5",
        curves=f"{RESULTS}/train/{{surrogate}}/{{run}}.csv",
        times=f"{RESULTS}/times/train/{{surrogate}}/{{run}}.json",
    log:
        f"{RESULTS}/logs/train/{{surrogate}}/{{run}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{surrogate}}/{{run}}.tsv"
    conda:
        "../../envs/environment.yaml"
    # Several trainings go side by side: two threads of one are hardly faster than one.
    threads: 1 if STUDY.trainings() > 1 else 2
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=1440,
        gpu=lambda wildcards: STUDY.gpus(wildcards.surrogate),
    params:
        code=code_digest("train"),
        seed=STUDY.seed,
        work=f"{RESULTS}/work",
        settings=lambda wildcards: STUDY.training(wildcards.surrogate),
        tensorboard=lambda wildcards: (
            [f"--tensorboard={RESULTS}/logs/tensorboard/{wildcards.surrogate}/{wildcards.run}"]
            if STUDY.train.tensorboard
            else []
        ),
    shell:
        "sosie train --surrogate {wildcards.surrogate:q} --run {wildcards.run} --seed {params.seed}"
        " --code {params.code} --threads {threads} --work {params.work:q}"
        " --in {input.train:q} {input.validation:q} {input.transform:q} --before {input.before:q}"
        " --teacher {input.teacher:q}"
        " --curves {output.curves:q} --times {output.times:q} --out {output.trained:q}"
        " {params.tensorboard:q}"
        " --set {params.settings:q} 2>&1 | tee {log:q}"


rule train:
    input:
        [f"{RESULTS}/train/{name}/{run}.h5" for name in SURROGATES for run in RUNS[name]],
    localrule: True
