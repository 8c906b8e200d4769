"""``python -m tests.benchmarks``: every benchmark, beside its baseline in the same run. Nothing else should run."""

from tests.benchmarks import commands, dispatch, ecosystem, flavors, scale, spine

if __name__ == "__main__":
    commands.main()
    ecosystem.main()
    spine.main()
    print()
    dispatch.main()
    print()
    scale.main()
    print()
    flavors.main()
