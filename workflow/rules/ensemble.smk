for name in SURROGATES:

    rule:
        name:
            f"ensemble_{name}"
        input:
            trained=expand(f"{RESULTS}/train/{name}/{{run}}.h5", run=RUNS[name]),
            domain=f"{RESULTS}/preprocess/domain.h5",
        output:
            members=expand(f"{RESULTS}/ensemble/{name}/{{member}}.h5", member=MEMBERS[name]),
        log:
            f"{RESULTS}/logs/ensemble/{name}.log",
        benchmark:
            f"{RESULTS}/benchmarks/ensemble/{name}.tsv"
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 2000 * attempt,
            runtime=60,
        params:
            code=code_digest("ensemble"),
        shell:
            "sosie ensemble --code {params.code} --in {input.trained:q} --domain {input.domain:q}"
            " --out {output.members:q} 2>&1 | tee {log:q}"


rule ensemble:
    input:
        [
            f"{RESULTS}/ensemble/{name}/{member}.h5"
            for name in SURROGATES
            for member in MEMBERS[name]
        ],
    localrule: True
