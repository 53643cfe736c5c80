rule train_one:
    input:
        train=f"{RESULTS}/ingest/train.h5",
        validation=f"{RESULTS}/ingest/validation.h5",
        transform=f"{RESULTS}/preprocess/transform.json",
        foreign=lambda wildcards: FOREIGN[wildcards.surrogate],
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
    threads: 2
    resources:
        mem_mb=3000,
        runtime=1440,
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
        " --in {input.train:q} {input.validation:q} {input.transform:q}"
        " --curves {output.curves:q} --times {output.times:q} --out {output.trained:q}"
        " {params.tensorboard:q}"
        " --set {params.settings:q} 2>&1 | tee {log:q}"


rule train:
    input:
        expand(f"{RESULTS}/train/{{surrogate}}/0.h5", surrogate=SURROGATES),
    localrule: True
