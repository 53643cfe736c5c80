rule moments_one:
    input:
        reference=f"{RESULTS}/ingest/{{sample}}.h5",
        generated=lambda wildcards: expand(
            f"{RESULTS}/generate/{wildcards.surrogate}/{{member}}/{wildcards.sample}.h5",
            member=MEMBERS[wildcards.surrogate],
        ),
        reconstruct=f"{RESULTS}/reconstruct/{{surrogate}}/{{sample}}.h5",
    output:
        moments=f"{RESULTS}/moments/{{surrogate}}/{{sample}}.h5",
    log:
        f"{RESULTS}/logs/moments/{{surrogate}}/{{sample}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/moments/{{surrogate}}/{{sample}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: STUDY.memory * attempt,
        runtime=120,
    params:
        code=code_digest("moments"),
        seed=STUDY.seed,
        settings=STUDY.lines("moments"),
    shell:
        "sosie moments --seed {params.seed} --code {params.code}"
        " --in {input.reference:q} {input.generated:q} --out {output.moments:q}"
        " --reconstruct {input.reconstruct:q} --set {params.settings:q} 2>&1 | tee {log:q}"


rule moments:
    input:
        [
            f"{RESULTS}/moments/{name}/{sample}.h5"
            for name in SURROGATES
            for sample in STUDY.samples(name)
        ],
    localrule: True
