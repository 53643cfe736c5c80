rule report:
    input:
        summary=f"{RESULTS}/ingest/summary.json",
        transform=f"{RESULTS}/preprocess/transform.json",
        curves=expand(f"{RESULTS}/train/{{surrogate}}/0.csv", surrogate=SURROGATES),
        test=f"{RESULTS}/ingest/test.h5",
        generated=rules.generate.input,
        trained=[
            f"{RESULTS}/times/train/{name}/{run}.json" for name in SURROGATES for run in RUNS[name]
        ],
        drawn=expand(f"{RESULTS}/times/generate/{{surrogate}}.json", surrogate=SURROGATES),
        moments=rules.moments.input,
        reconstruct=rules.reconstruct.input,
        compare=rules.compare.output,
    output:
        page=f"{RESULTS}/report.html",
        figures=report(
            directory(f"{RESULTS}/report"), patterns=["{figure}.svg"], category="Figures"
        ),
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=30,
    params:
        code=code_digest("report"),
        folder=subpath(output.page, parent=True),
        # A function, because Snakemake would take braces in a label for a wildcard.
        study=lambda wildcards: to_json(STUDY.model_dump(mode="json")),
    shell:
        "sosie report --code {params.code} --in {params.folder:q} --study {params.study:q}"
        " --figures {output.figures:q} --out {output.page:q} 2>&1 | tee {log:q}"
