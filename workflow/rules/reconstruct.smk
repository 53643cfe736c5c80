from pathlib import Path


rule reconstruct_calibrate:
    input:
        train=f"{RESULTS}/ingest/train.h5",
    output:
        calibration=f"{RESULTS}/reconstruct/calibration.json",
    log:
        f"{RESULTS}/logs/reconstruct/calibration.log",
    benchmark:
        f"{RESULTS}/benchmarks/reconstruct/calibration.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        code=code_digest("reconstruct"),
    shell:
        "sosie reconstruct --code {params.code} --calibrate {input.train:q}"
        " --out {output.calibration:q} 2>&1 | tee {log:q}"


rule reconstruct_one:
    input:
        reference=f"{RESULTS}/ingest/test.h5",
        generated=lambda wildcards: expand(
            f"{RESULTS}/generate/{wildcards.surrogate}/{{member}}/test.h5",
            member=MEMBERS[wildcards.surrogate],
        ),
        calibration=f"{RESULTS}/reconstruct/calibration.json",
        transform=f"{RESULTS}/preprocess/transform.json",
        # Functions, because Snakemake would take {input} in a word for a wildcard.
        program=lambda wildcards: [
            str(Path(word)) for word in STUDY.reconstruct.command if Path(word).is_file()
        ],
    output:
        reconstruct=f"{RESULTS}/reconstruct/{{surrogate}}/reconstruct.h5",
    log:
        f"{RESULTS}/logs/reconstruct/{{surrogate}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/reconstruct/{{surrogate}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        code=code_digest("reconstruct"),
        seed=STUDY.seed,
        settings=lambda wildcards: STUDY.lines("reconstruct"),
    shell:
        "sosie reconstruct --seed {params.seed} --code {params.code}"
        " --calibration {input.calibration:q} --transform {input.transform:q}"
        " --in {input.reference:q} {input.generated:q} --out {output.reconstruct:q}"
        " --set {params.settings:q} 2>&1 | tee {log:q}"


rule reconstruct:
    input:
        expand(f"{RESULTS}/reconstruct/{{surrogate}}/reconstruct.h5", surrogate=SURROGATES),
    localrule: True
