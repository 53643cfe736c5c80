rule moments_one:
    input:
        reference=f"{RESULTS}/ingest/test.h5",
        generated=lambda wildcards: expand(
            f"{RESULTS}/generate/{wildcards.surrogate}/{{member}}/test.h5",
            member=MEMBERS[wildcards.surrogate],
        ),
        reconstruct=f"{RESULTS}/reconstruct/{{surrogate}}/reconstruct.h5",
        transform=f"{RESULTS}/preprocess/transform.json",
    output:
        moments=f"{RESULTS}/moments/{{surrogate}}/moments.h5",
    log:
        f"{RESULTS}/logs/moments/{{surrogate}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/moments/{{surrogate}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        code=code_digest("moments"),
        seed=STUDY.seed,
        settings=STUDY.lines("moments"),
    shell:
        "sosie moments --seed {params.seed} --code {params.code}"
        " --in {input.reference:q} {input.generated:q} --out {output.moments:q}"
        " --reconstruct {input.reconstruct:q} --transform {input.transform:q} --set {params.settings:q} 2>&1 | tee {log:q}"


rule moments:
    input:
        expand(f"{RESULTS}/moments/{{surrogate}}/moments.h5", surrogate=SURROGATES),
    localrule: True
