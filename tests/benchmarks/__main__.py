"""``python -m tests.benchmarks``: every benchmark, beside its baseline in the same run. Nothing else should run."""

from tests.benchmarks import commands, dispatch, ecosystem, ecosystem_cli, flavors, hostile, scale, spine

if __name__ == "__main__":
    commands.main()
    ecosystem.main()
    ecosystem_cli.main()
    print()
    spine.main()
    print()
    dispatch.main()
    print()
    scale.main()
    print()
    flavors.main()
    print()
    hostile.main()
