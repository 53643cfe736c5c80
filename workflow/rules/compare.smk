rule compare_trust:
    input:
        training=f"{RESULTS}/ingest/train.h5",
        moments=lambda wildcards: expand(
            f"{RESULTS}/moments/{wildcards.surrogate}/{{sample}}.h5",
            sample=STUDY.samples(wildcards.surrogate),
        ),
        reconstruct=lambda wildcards: expand(
            f"{RESULTS}/reconstruct/{wildcards.surrogate}/{{sample}}.h5",
            sample=STUDY.samples(wildcards.surrogate),
        ),
    output:
        trust=f"{RESULTS}/compare/{{surrogate}}/trust.json",
    log:
        f"{RESULTS}/logs/compare/{{surrogate}}_trust.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare/{{surrogate}}_trust.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: STUDY.memory * attempt,
        runtime=30,
    params:
        code=code_digest("trust"),
    shell:
        "sosie compare --surrogate {wildcards.surrogate:q} --code {params.code}"
        " --calibrate {input.training:q} --moments {input.moments:q}"
        " --reconstruct {input.reconstruct:q} --out {output.trust:q} 2>&1 | tee {log:q}"


rule compare_one:
    input:
        reference=f"{RESULTS}/ingest/test.h5",
        generated=lambda wildcards: expand(
            f"{RESULTS}/generate/{wildcards.surrogate}/{{member}}/test.h5",
            member=MEMBERS[wildcards.surrogate],
        ),
        training=f"{RESULTS}/ingest/train.h5",
        moments=f"{RESULTS}/moments/{{surrogate}}/test.h5",
        reconstruct=f"{RESULTS}/reconstruct/{{surrogate}}/test.h5",
        # One member has no spread to calibrate.
        trust=lambda wildcards: (
            f"{RESULTS}/compare/{wildcards.surrogate}/trust.json"
            if len(MEMBERS[wildcards.surrogate]) > 1
            else []
        ),
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
        mem_mb=lambda wildcards, attempt: STUDY.memory * attempt,
        runtime=240,
    params:
        code=code_digest("compare"),
        seed=STUDY.seed,
        # It bounds the events that the figures take, and is so a setting here.
        memory=STUDY.memory,
        settings=STUDY.lines("compare", "splits", "classifier_splits"),
    shell:
        "sosie compare --surrogate {wildcards.surrogate:q} --seed {params.seed} --code {params.code}"
        " --memory {params.memory}"
        " --in {input.reference:q} {input.generated:q}"
        " --training {input.training:q} --moments {input.moments:q} --reconstruct {input.reconstruct:q}"
        " --trust {input.trust:q} --out {output.figures:q} --set {params.settings:q} 2>&1 | tee {log:q}"


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
        mem_mb=lambda wildcards, attempt: STUDY.memory * attempt,
        runtime=240,
    params:
        code=code_digest("repetition"),
        seed=STUDY.seed,
        memory=STUDY.memory,
        settings=STUDY.lines("compare", "repetition"),
    shell:
        "sosie compare --surrogate {wildcards.surrogate:q} --seed {params.seed} --code {params.code}"
        " --memory {params.memory}"
        " --member {input.member:q} --in {input.train:q} {input.test:q}"
        " --out {output.figures:q} --set {params.settings:q} 2>&1 | tee {log:q}"


rule compare:
    input:
        figures=expand(f"{RESULTS}/compare/{{surrogate}}/metrics.json", surrogate=SURROGATES),
        # Nothing is drawn again where the study asks for no repetition.
        repetition=(
            expand(f"{RESULTS}/compare/{{surrogate}}/repetition.json", surrogate=SURROGATES)
            if STUDY.compare.repetition
            else []
        ),
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
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
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
