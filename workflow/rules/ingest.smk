rule ingest:
    input:
        ntuples=NTUPLES,
    output:
        train=f"{RESULTS}/ingest/train.h5",
        validation=f"{RESULTS}/ingest/validation.h5",
        test=f"{RESULTS}/ingest/test.h5",
        summary=f"{RESULTS}/ingest/summary.json",
    log:
        f"{RESULTS}/logs/ingest.log",
    benchmark:
        f"{RESULTS}/benchmarks/ingest.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        code=code_digest("ingest"),
        detector=STUDY.detector,
        seed=STUDY.seed,
        folder=subpath(output.train, parent=True),
        settings=STUDY.lines("ingest"),
    shell:
        "sosie ingest --detector {params.detector:q} --seed {params.seed} --code {params.code}"
        " --threads {threads} --out {params.folder:q} --set {params.settings:q} 2>&1 | tee {log:q}"
