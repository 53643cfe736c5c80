rule preprocess:
    input:
        train=f"{RESULTS}/ingest/train.h5",
    output:
        transform=f"{RESULTS}/preprocess/transform.json",
        domain=f"{RESULTS}/preprocess/domain.h5",
    log:
        f"{RESULTS}/logs/preprocess.log",
    benchmark:
        f"{RESULTS}/benchmarks/preprocess.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=60,
    params:
        code=code_digest("preprocess"),
        seed=STUDY.seed,
        settings=STUDY.lines("preprocess"),
    shell:
        "sosie preprocess --seed {params.seed} --code {params.code}"
        " --in {input.train:q} --out {output.transform:q} --domain {output.domain:q}"
        " --set {params.settings:q} 2>&1 | tee {log:q}"
