for name in SURROGATES:

    rule:
        name:
            f"generate_{name}"
        input:
            members=expand(f"{RESULTS}/ensemble/{name}/{{member}}.h5", member=MEMBERS[name]),
            conditions=f"{RESULTS}/ingest/{{sample}}.h5",
        output:
            samples=expand(
                f"{RESULTS}/generate/{name}/{{member}}/{{{{sample}}}}.h5", member=MEMBERS[name]
            ),
        log:
            f"{RESULTS}/logs/generate/{name}/{{sample}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/generate/{name}/{{sample}}.tsv"
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: STUDY.memory * attempt,
            runtime=240,
        params:
            code=code_digest("generate"),
            seed=STUDY.seed,
            settings=STUDY.lines("generate", "batch", "outside"),
        shell:
            "sosie generate --seed {params.seed} --code {params.code}"
            " --surrogate {input.members:q} --conditions {input.conditions:q}"
            " --out {output.samples:q} --set {params.settings:q} 2>&1 | tee {log:q}"


# Measured and so not the same in every run: only the report's own section of times rests on it.
rule generate_times:
    input:
        member=f"{RESULTS}/ensemble/{{surrogate}}/0.h5",
        conditions=f"{RESULTS}/ingest/test.h5",
    output:
        times=f"{RESULTS}/times/generate/{{surrogate}}.json",
    log:
        f"{RESULTS}/logs/generate/{{surrogate}}/times.log",
    benchmark:
        f"{RESULTS}/benchmarks/generate/{{surrogate}}/times.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: STUDY.memory * attempt,
        runtime=10,
    params:
        code=code_digest("times"),
        seed=STUDY.seed,
        settings=STUDY.lines("generate", "full_simulation"),
    shell:
        "sosie generate --times --seed {params.seed} --code {params.code}"
        " --surrogate {input.member:q} --conditions {input.conditions:q}"
        " --out {output.times:q} --set {params.settings:q} 2>&1 | tee {log:q}"


rule generate:
    input:
        [
            f"{RESULTS}/generate/{name}/{member}/{sample}.h5"
            for name in SURROGATES
            for member in MEMBERS[name]
            for sample in STUDY.samples(name)
        ],
    localrule: True
