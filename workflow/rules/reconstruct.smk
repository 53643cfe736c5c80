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
        mem_mb=lambda wildcards, attempt: STUDY.memory * attempt,
        runtime=60,
    params:
        code=code_digest("reconstruct"),
    shell:
        "sosie reconstruct --code {params.code} --calibrate {input.train:q}"
        " --out {output.calibration:q} 2>&1 | tee {log:q}"


rule reconstruct_one:
    input:
        reference=f"{RESULTS}/ingest/{{sample}}.h5",
        generated=lambda wildcards: expand(
            f"{RESULTS}/generate/{wildcards.surrogate}/{{member}}/{wildcards.sample}.h5",
            member=MEMBERS[wildcards.surrogate],
        ),
        calibration=f"{RESULTS}/reconstruct/calibration.json",
        program=SCRIPTS,
    output:
        reconstruct=f"{RESULTS}/reconstruct/{{surrogate}}/{{sample}}.h5",
    log:
        f"{RESULTS}/logs/reconstruct/{{surrogate}}/{{sample}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/reconstruct/{{surrogate}}/{{sample}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: STUDY.memory * attempt,
        runtime=120,
    params:
        code=code_digest("reconstruct"),
        seed=STUDY.seed,
        # A function, because Snakemake would take {input} in a word for a wildcard.
        settings=lambda wildcards: STUDY.lines("reconstruct"),
    shell:
        "sosie reconstruct --seed {params.seed} --code {params.code}"
        " --calibration {input.calibration:q} --memory {resources.mem_mb}"
        " --in {input.reference:q} {input.generated:q} --out {output.reconstruct:q}"
        " --set {params.settings:q} 2>&1 | tee {log:q}"


rule reconstruct:
    input:
        [
            f"{RESULTS}/reconstruct/{name}/{sample}.h5"
            for name in SURROGATES
            for sample in STUDY.samples(name)
        ],
    localrule: True
