rule compare_one:
    input:
        reference=f"{RESULTS}/ingest/test.h5",
        generated=lambda wildcards: expand(
            f"{RESULTS}/generate/{wildcards.surrogate}/{{member}}/test.h5",
            member=MEMBERS[wildcards.surrogate],
        ),
        training=f"{RESULTS}/ingest/train.h5",
        moments=f"{RESULTS}/moments/{{surrogate}}/moments.h5",
        reconstruct=f"{RESULTS}/reconstruct/{{surrogate}}/reconstruct.h5",
    output:
        figures=f"{RESULTS}/compare/{{surrogate}}/metrics.json",
    log:
        f"{RESULTS}/logs/compare/{{surrogate}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare/{{surrogate}}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        code=code_digest("compare"),
        seed=STUDY.seed,
        settings=STUDY.lines("compare", "splits", "classifier_splits"),
    shell:
        "sosie compare --surrogate {wildcards.surrogate:q} --seed {params.seed} --code {params.code}"
        " --in {input.reference:q} {input.generated:q}"
        " --training {input.training:q} --moments {input.moments:q} --reconstruct {input.reconstruct:q}"
        " --out {output.figures:q} --set {params.settings:q} 2>&1 | tee {log:q}"


rule compare_repetition:
    input:
        member=f"{RESULTS}/ensemble/{{surrogate}}/0.h5",
        train=f"{RESULTS}/ingest/train.h5",
        test=f"{RESULTS}/ingest/test.h5",
    output:
        figures=f"{RESULTS}/compare/{{surrogate}}/repetition.json",
    log:
        f"{RESULTS}/logs/compare/{{surrogate}}_repetition.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare/{{surrogate}}_repetition.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        code=code_digest("repetition"),
        seed=STUDY.seed,
        settings=STUDY.lines("compare", "repetition"),
    shell:
        "sosie compare --surrogate {wildcards.surrogate:q} --seed {params.seed} --code {params.code}"
        " --member {input.member:q} --in {input.train:q} {input.test:q}"
        " --out {output.figures:q} --set {params.settings:q} 2>&1 | tee {log:q}"


rule compare:
    input:
        figures=expand(f"{RESULTS}/compare/{{surrogate}}/metrics.json", surrogate=SURROGATES),
        repetition=expand(f"{RESULTS}/compare/{{surrogate}}/repetition.json", surrogate=SURROGATES),
    output:
        metrics=f"{RESULTS}/compare/metrics.json",
        leaderboard=report(f"{RESULTS}/compare/leaderboard.csv", category="Leaderboard"),
    log:
        f"{RESULTS}/logs/compare/collect.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare/collect.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_digest("leaderboard"),
        folder=subpath(output.metrics, parent=True),
        settings=STUDY.lines("compare", "gates"),
    shell:
        "sosie compare --code {params.code} --collect {input.figures:q}"
        " --repetition {input.repetition:q}"
        " --out {params.folder:q} --set {params.settings:q} 2>&1 | tee {log:q}"


# No file: it runs each time it is asked for, and fails where a quality gate does.
rule gate:
    input:
        metrics=f"{RESULTS}/compare/metrics.json",
    log:
        f"{RESULTS}/logs/compare/gate.log",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    shell:
        "sosie compare --gate {input.metrics:q} 2>&1 | tee {log:q}"
