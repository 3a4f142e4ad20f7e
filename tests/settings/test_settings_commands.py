"""`check`, `schema`, and where commands find their configuration."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from settings_samples import IDENTITY, Write

from relay.aws.regions import known_regions
from relay.cli.check import check, report
from relay.cli.config_option import ENVIRONMENT, config_option, find_config
from relay.cli.schema import schema
from relay.settings.problems import Problem
from relay.settings.schema import json_schema

ERROR = Problem("relay.yaml", 7, "ses.concurrency", "0", "a whole number from 1 to 999999999")
WARNING = Problem("relay.yaml", 3, "identities[0].region", "mars-north-1", "a region", "warning")


def test_check_says_that_a_configuration_is_well(write: Write) -> None:
    write(IDENTITY)

    result = CliRunner().invoke(check, ["--config", "relay.yaml"])

    assert (result.exit_code, result.output) == (0, "relay.yaml: ok\n")


def test_check_says_everything_at_once_and_exits_with_2(write: Write) -> None:
    """Errors, warnings of the SDK's regions, and what goes wrong between sections."""
    write(IDENTITY.replace("us-west-2", "mars-north-1") + "ses: {concurrency: 0}\ndelivery: {acknowledge: on_spool}\n")

    result = CliRunner().invoke(check, ["--config", "relay.yaml"])

    assert result.exit_code == 2
    lines = [line.partition("; allowed ")[0] for line in result.output.splitlines()]
    assert lines == [
        "relay.yaml:3: warning: identities[0].source_arn: found mars-north-1",
        "relay.yaml:4: error: ses.concurrency: found 0",
        "relay.yaml:5: error: delivery.acknowledge: found on_spool",
        "relay.yaml: 2 errors, 1 warning",
    ]


def test_warnings_alone_are_no_failure(write: Write) -> None:
    write(IDENTITY.replace("us-west-2", "mars-north-1"))

    result = CliRunner().invoke(check, ["--config", "relay.yaml"])

    assert result.exit_code == 0
    assert result.output.endswith("relay.yaml: 0 errors, 1 warning\n")


@pytest.mark.parametrize("text", [IDENTITY, "ses: {}\n"])
def test_check_speaks_json(write: Write, text: str) -> None:
    write(text)

    result = CliRunner().invoke(check, ["--config", "relay.yaml", "--json"])

    answer = json.loads(result.output)
    assert answer["ok"] is (result.exit_code == 0) is (not answer["problems"])
    assert all(set(problem) == {*Problem.__dataclass_fields__} for problem in answer["problems"])


def test_check_takes_its_variables_from_the_environment(write: Write) -> None:
    write(f"{IDENTITY}    tenant: ${{TENANT}}\n")

    assert CliRunner().invoke(check, ["--config", "relay.yaml"], env={"TENANT": "a"}).exit_code == 0
    assert CliRunner().invoke(check, ["--config", "relay.yaml"]).exit_code == 2


def test_a_report_is_made_of_problems_alone() -> None:
    assert report("relay.yaml", [WARNING, ERROR], as_json=False).splitlines() == [
        str(WARNING),
        "relay.yaml:7: error: ses.concurrency: found 0; allowed a whole number from 1 to 999999999",
        "relay.yaml: 1 error, 1 warning",
    ]
    assert json.loads(report("relay.yaml", [WARNING], as_json=True))["ok"] is True
    assert json.loads(report("relay.yaml", [ERROR], as_json=True))["problems"][0]["line"] == 7


def test_schema_prints_the_schema() -> None:
    result = CliRunner().invoke(schema, [])

    assert result.exit_code == 0
    assert json.loads(result.output) == json_schema()


@click.command()
@config_option
def _where(config: Path) -> None:
    click.echo(config)


def test_the_option_wins_over_the_environment_and_that_over_the_usual_places(write: Write) -> None:
    write("", "config/relay.yaml")
    run = CliRunner().invoke

    assert run(_where, ["--config", "a.yaml"], env={ENVIRONMENT: "b.yaml"}).output == "a.yaml\n"
    assert run(_where, [], env={ENVIRONMENT: "b.yaml"}).output == "b.yaml\n"
    assert run(_where, [], env={ENVIRONMENT: None}).output == "config/relay.yaml\n"


def test_the_first_usual_place_that_exists_is_taken(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    second.touch()
    assert find_config(None, (first, second)) == second

    first.touch()
    assert find_config(None, (first, second)) == first


def test_without_any_configuration_the_usage_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="--config or SES_RELAY_CONFIG"):
        find_config(None, (tmp_path / "nowhere.yaml",))


def test_a_configuration_that_is_not_there_is_a_problem_of_check(write: Write) -> None:
    write("")

    result = CliRunner().invoke(check, ["--config", "nowhere.yaml"])

    assert result.exit_code == 2
    assert "nowhere.yaml: error: found no such file or directory" in result.output


def test_the_sdk_knows_the_regions_of_ses_in_every_partition() -> None:
    assert {"us-east-1", "eu-west-1", "us-gov-west-1", "eusc-de-east-1"} <= known_regions()
    assert "mars-north-1" not in known_regions()
