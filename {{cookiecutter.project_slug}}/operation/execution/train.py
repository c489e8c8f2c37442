"""Train on Azure ML: submit the pipeline as a job, wait for it, register its model.

python operation/execution/train.py --env dev

In CI, later steps get the outputs job, version, digest and is_champion.
"""

import click
import kedro_azure_mlops as mlops
from kedro_azure_mlops.cli import Command, env_option


def train(
    env: str, *, data_of: str | None = None, job: str | None = None, wait: bool = True
) -> None:
    """Train and register; the gate decides whether the model becomes champion.

    Parameters
    ----------
    data_of
        The environment that update_policy watches, to train on its data.
    job
        An earlier job to wait for, instead of submitting one.
    wait
        False only submits the job.
    """
    name = job or mlops.submit_job(env, data_of=data_of, say=click.echo).name
    if wait:
        mlops.wait_for_job(env, name, show=click.echo)
        mlops.register(env, job=name, say=click.echo)


@click.command("train", cls=Command)
@env_option("dev")
@click.option("--data-of", metavar="ENV", help="train on the data of the watched environment")
@click.option("--job", metavar="NAME", help="wait for this job instead of submitting one")
@click.option("--no-wait", is_flag=True, help="submit the job without waiting for it")
def main(env: str, data_of: str | None, job: str | None, no_wait: bool) -> int:
    """Train on Azure ML; exit status 1 if the job fails or the gate refuses its model."""
    if job and (no_wait or data_of):
        raise click.UsageError("--job cannot be combined with --no-wait or --data-of.")

    def work() -> int:
        train(env, data_of=data_of or None, job=job, wait=not no_wait)
        return 0

    return mlops.run_until_interrupted(work, "train: interrupted; in CI the job is cancelled too")


if __name__ == "__main__":
    main()
