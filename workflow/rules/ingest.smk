# One job reads all files, or one each some of them: then ingest lists what these wrote.
if PARTS:

    rule ingest_part:
        input:
            ntuples=lambda wildcards: [
                path for path in PARTS[int(wildcards.part)].files if not is_remote(path)
            ],
        output:
            part=directory(f"{RESULTS}/ingest/parts/{{part}}"),
        log:
            f"{RESULTS}/logs/ingest/part_{{part}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/ingest/part_{{part}}.tsv"
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: STUDY.memory * attempt,
            runtime=120,
        params:
            code=code_digest("ingest"),
            detector=STUDY.detector,
            seed=STUDY.seed,
            files=lambda wildcards: [f"--part={path}" for path in PARTS[int(wildcards.part)].files],
            remote=lambda wildcards: sightings(PARTS[int(wildcards.part)].files),
            sample=lambda wildcards: [
                f"--sample={name}" for name in [PARTS[int(wildcards.part)].sample] if name
            ],
            seen=f"{RESULTS}/{RECORD}",
            # A function, because Snakemake would take braces in a name for a wildcard.
            settings=lambda wildcards: STUDY.lines("ingest"),
        shell:
            "sosie ingest --detector {params.detector:q} --seed {params.seed} --code {params.code}"
            " --threads {threads} --memory {resources.mem_mb} {params.files:q}"
            " {params.sample:q} --seen {params.seen:q} --out {output.part:q} --set {params.settings:q}"
            " 2>&1 | tee {log:q}"


rule ingest:
    input:
        ntuples=[] if PARTS else NTUPLES,
        parts=[f"{RESULTS}/ingest/parts/{part}" for part in range(len(PARTS))],
    output:
        train=f"{RESULTS}/ingest/train.h5",
        validation=f"{RESULTS}/ingest/validation.h5",
        test=f"{RESULTS}/ingest/test.h5",
        samples=expand(f"{RESULTS}/ingest/{{name}}.h5", name=STUDY.ingest.samples),
        summary=f"{RESULTS}/ingest/summary.json",
    log:
        f"{RESULTS}/logs/ingest.log",
    benchmark:
        f"{RESULTS}/benchmarks/ingest.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1 if PARTS else 2
    resources:
        mem_mb=lambda wildcards, attempt: STUDY.memory * attempt,
        runtime=120,
    params:
        code=code_digest("merge" if PARTS else "ingest"),
        # Files on a server have no time that Snakemake sees; changed, they are ingested again.
        remote=lambda wildcards: sightings(STUDY.ingest.all_files()),
        detector=STUDY.detector,
        seed=STUDY.seed,
        folder=subpath(output.train, parent=True),
        seen=f"{RESULTS}/{RECORD}",
        # A function, because Snakemake would take braces in a name for a wildcard.
        settings=lambda wildcards: STUDY.lines("ingest"),
        merge=lambda wildcards, input: ["--merge", *input.parts] if PARTS else [],
    shell:
        "sosie ingest --detector {params.detector:q} --seed {params.seed} --code {params.code}"
        " --threads {threads} --memory {resources.mem_mb} {params.merge:q} --seen {params.seen:q}"
        " --out {params.folder:q} --set {params.settings:q} 2>&1 | tee {log:q}"


rule ingest_calibration:
    input:
        validation=f"{RESULTS}/ingest/validation.h5",
    output:
        calibration=f"{RESULTS}/ingest/calibration.h5",
    log:
        f"{RESULTS}/logs/ingest/calibration.log",
    benchmark:
        f"{RESULTS}/benchmarks/ingest/calibration.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=60,
    params:
        code=code_digest("halves"),
        seed=STUDY.seed,
    shell:
        "sosie ingest --calibration {input.validation:q} --seed {params.seed} --code {params.code}"
        " --out {output.calibration:q} 2>&1 | tee {log:q}"
