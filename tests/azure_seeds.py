"""Defects to seed into the project's Azure pipelines, and good pipelines as others write them."""

CI = "azure_pipelines/ci.yml"
DEPLOY = "azure_pipelines/deploy.yml"
RETRAIN = "azure_pipelines/retrain.yml"
TRAIN = "azure_pipelines/train.yml"
BACK = "azure_pipelines/templates/back.yml"
JOBS = "azure_pipelines/templates/train.yml"
ROLLOUT = "azure_pipelines/templates/rollout.yml"
SETUP = "azure_pipelines/templates/setup.yml"
TESTS = "azure_pipelines/templates/tests.yml"
VARIABLES = "azure_pipelines/templates/variables.yml"
VERB = "azure_pipelines/templates/verb.yml"

# What is edited, what of it, into what, and what the message has to name (one of several after a
# bar). The message is about the edited file unless a fifth part names another.
DEFECTS: dict[str, tuple[str, ...]] = {
    # the schema
    "key of a step": (VERB, "- bash: exec", "- bsh: exec", "bsh"),
    "key of a job": (
        CI,
        ("timeoutInMinutes: 30\n    steps:\n      - template: templates/setup.yml\n"
         "      - template: templates/verb.yml\n        parameters:\n          verb: check"),
        ("timeoutMinutes: 30\n    steps:\n      - template: templates/setup.yml\n"
         "      - template: templates/verb.yml\n        parameters:\n          verb: check"),
        "timeoutMinutes",
    ),
    "key of a step in a branch nobody takes": (
        VERB, "scriptType: bash", "scriptTyp: bash", "scriptTyp",
    ),
    "key of a trigger": (TRAIN, "  branches:", "  branchs:", "branchs"),
    "key of a stage": (RETRAIN, "    dependsOn: look", "    dependsUpon: look", "dependsUpon"),
    "key of a deployment": (DEPLOY, "environment: stage", "enviroment: stage", "enviroment"),
    "hook of a deployment": (DEPLOY, "            deploy:\n", "            deplyo:\n", "deplyo"),
    "key of a schedule": (RETRAIN, "    always: true", "    allways: true", "allways"),
    "key of a pool": (CI, "  vmImage: ubuntu", "  vmimage: ubuntu", "vmimage"),
    "empty pool": (TRAIN, "  vmImage: ubuntu-24.04\n", "", "the pool is empty"),
    "key beside a template": (
        TESTS, "        parameters:\n          installs", "        parametrs:\n          installs",
        "parametrs",
    ),
    "deployment that nobody approves": (
        DEPLOY, "        environment: stage\n", "", "names no environment",
    ),
    "steps of a wrong indent": (
        JOBS, "        steps:\n          - task: AzureML",
        "          steps:\n            - task: AzureML",
        "job wait has no steps|this is no YAML",
    ),
    "mapping that is lost": (
        BACK, "  - stage: back_${{ parameters.env }}\n", "", "is not of type 'array'",
    ),
    "kind of a job": (JOBS, "- job: submit", "- jb: submit", "jb"),
    "steps that are no list": (
        DEPLOY,
        ("              steps:\n                - template: templates/rollout.yml\n"
         "                  parameters:\n                    env: stage\n"),
        "              steps: templates/rollout.yml\n", "steps",
    ),
    "input of a task": (TESTS, "testResultsFiles:", "testResultFiles:", "testResultFiles"),
    "input of a task the schema lacks": (TESTS, "pathToSources:", "pathToSource:", "pathToSource"),
    "input of a task of the extension": (JOBS, "azureMLJobName:", "azureMLJob:", "azureMLJobName"),
    "missing input": (
        VERB, "          azureSubscription: azure-temperature-anomalies-${{ parameters.env }}\n",
        "", "azureSubscription",
    ),
    "value of an input": (VERB, "scriptType: bash", "scriptType: zsh", "zsh"),
    "unknown task": (SETUP, "UsePythonVersion@0", "UsePythonVersions@0", "UsePythonVersions@0"),
    "unknown version of a task": (SETUP, "Cache@2", "Cache@9", "Cache@9"),
    "variable without a value": (
        VARIABLES, "    value: $(Pipeline", "    vlaue: $(Pipeline", "vlaue",
    ),
    # YAML
    "no YAML": (CI, "pool:\n  vmImage", "pool:\n vmImage: x\n  vmImage", "this is no YAML"),
    "one key twice": (CI, "pool:\n", "pool: {}\npool:\n", "pool"),
    "anchor": (CI, "pool:\n", "pool: &pool\n", "anchors"),
    "cron of four fields": (RETRAIN, "0 4 * * 1", "0 4 * *", "five fields"),
    # templates and their parameters
    "missing template": (CI, "templates/tests.yml", "templates/test.yml", "templates/test.yml"),
    "missing template of the extension": (
        JOBS, "- template: verb.yml", "- template: templates/verb.yml",
        "azure_pipelines/templates/templates/verb.yml",
    ),
    "unknown parameter": (JOBS, "installs: azure", "install: azure", "install"),
    "missing parameter": (
        CI, "    parameters:\n      suite: unit\n", "", "needs the parameter suite",
    ),
    "value that is not allowed": (JOBS, "installs: azure", "installs: docker", "docker"),
    "parameter of the wrong type": (ROLLOUT, "azure: true", "azure: perhaps", "boolean"),
    "list for a text": (CI, "suite: unit", "suite: [unit]", "string"),
    "undeclared parameter": (VERB, "parameters.arguments", "parameters.argument", "argument"),
    "unknown type of a parameter": (TRAIN, "type: boolean", "type: bool", "bool"),
    "default that is not allowed": (SETUP, "default: setup", "default: stup", "stup"),
    "parameter declared twice": (SETUP, "- name: pushes", "- name: installs", "twice"),
    "key of a parameter": (SETUP, "    default: setup", "    defualt: setup", "defualt"),
    "templates in a circle": (SETUP, "- template: verb.yml", "- template: tests.yml", "circle"),
    "template of the wrong kind": (
        CI, "  - template: templates/tests.yml\n    parameters:\n      suite: unit",
        "  - template: templates/variables.yml", "jobs",
    ),
    # expressions
    "brackets of an expression": (
        JOBS, "ne(dependencies.submit.outputs['submit.job'], ''))",
        "ne(dependencies.submit.outputs['submit.job'], '')", "unbalanced brackets",
    ),
    "one bracket too much": (BACK, "''))))", "'')))))", "unbalanced brackets"),
    "open template expression": (
        TESTS, "job: ${{ parameters.suite }}", "job: ${{ parameters.suite }", "not closed",
    ),
    "open run expression": (
        JOBS, "job: $[ dependencies.submit.outputs['submit.job'] ]",
        "job: $[ dependencies.submit.outputs['submit.job']  ", "unbalanced|not closed",
    ),
    "open quote": (BACK, "'Failed', ", "'Failed, ", "quote"),
    "double quotes": (JOBS, "['submit.job'], ''", '["submit.job"], \'\'', "single quotes"),
    "operator": (SETUP, "if parameters.pushes", "if parameters.pushes == true", "=="),
    "unknown function in a template": (
        VERB, "if parameters.azure", "if equals(parameters.azure, true)", "equals",
    ),
    "unknown function in a condition": (RETRAIN, "and(succeeded()", "and(suceeded()", "suceeded"),
    "status in a template": (VERB, "if parameters.azure", "if succeeded()", "only in a condition"),
    "too few arguments": (
        RETRAIN, "eq('${{ parameters.force }}', 'true')", "eq('${{ parameters.force }}')",
        "takes 2 arguments",
    ),
    "parameter in a condition of a run": (
        RETRAIN, "'${{ parameters.force }}'", "parameters.force", "parameters",
    ),
    "text without quotes": (
        BACK, "variables['deployed'], 'true'", "variables['deployed'], yes", "yes",
    ),
    "each without a list": (
        VERB, "if parameters.azure", "each parameters.azure", "each NAME in LIST",
    ),
    # who waits for whom
    "unknown job": (JOBS, "        dependsOn: submit", "        dependsOn: sumbit", "sumbit"),
    "unknown job in a list": (JOBS, "      - verdict\n", "      - verdikt\n", "verdikt"),
    "unknown stage": (DEPLOY, "dependsOn: to_stage", "dependsOn: stage", "depends on stage stage"),
    "stage that a template names": (BACK, "dependsOn: to_", "dependsOn: toward_", "toward_stage"),
    "stages in a circle": (DEPLOY, "dependsOn: []", "dependsOn: to_prod", "for ever"),
    "jobs in a circle": (
        JOBS, "    displayName: submit\n", "    displayName: submit\n    dependsOn: cancel\n",
        "for ever",
    ),
    "one job twice": (CI, "- job: supply", "- job: unit", "unit stands there twice"),
    "one stage twice": (RETRAIN, "- stage: train", "- stage: look", "look stands there twice"),
    "one step twice": (ROLLOUT, "name: deploy", "name: promote", "promote stands there twice"),
    "deployment named by a keyword": (
        DEPLOY, "- deployment: rollout", "- deployment: deploy", "cannot be named deploy",
    ),
    # what is read of others
    "output of no step": (JOBS, "'submit.job'", "'send.job'", "no step of the name send"),
    "output of a job that is not there": (
        JOBS, "dependencies.submit.outputs['submit.workspace']",
        "dependencies.send.outputs['submit.workspace']", "no job send",
    ),
    "output of a job not waited for": (JOBS, "        dependsOn: submit\n", "", "not waited for"),
    "output of a deployment without its name": (
        DEPLOY, "outputs['rollout.promote.digest']", "outputs['promote.digest']",
        "rollout.STEP.NAME",
    ),
    "output of a deployment by its hook": (
        DEPLOY, "outputs['rollout.promote.digest']", "outputs['deploy.promote.digest']",
        "rollout.STEP.NAME",
    ),
    "output of a deployment in a stage's condition": (
        BACK, "'rollout.rollout.deploy.moved'", "'rollout.deploy.moved'",
        "rollout.rollout.STEP.NAME",
    ),
    "output of a stage not waited for": (
        DEPLOY, "dependsOn: to_stage", "dependsOn: back_stage", "not waited for",
    ),
    "output of a stage that is not there": (
        DEPLOY, "stageDependencies.to_stage", "stageDependencies.stage", "no stage stage",
    ),
    "job of another stage that is not there": (
        BACK, ".rollout.outputs['rollout.deploy.moved']", ".roll.outputs['rollout.deploy.moved']",
        "no job roll",
    ),
    "renamed step": (
        ROLLOUT, "name: promote", "name: promotion", "no step of the name promote", DEPLOY,
    ),
    "condition of a stage": (
        RETRAIN, "dependencies.look.outputs['look.drift.drifted']",
        "stageDependencies.look.look.outputs['drift.drifted']", "knows no stageDependencies",
    ),
    "condition of a step": (
        BACK, "variables['deployed']", "dependencies.back.outputs['x.y']", "knows no dependencies",
    ),
    "macro of no step": (
        JOBS, "azureMLJobName: $(job)", "azureMLJobName: $(submit.job)", "$(submit.job)",
    ),
    "output that is no output": (
        JOBS, "dependencies.submit.outputs", "dependencies.submit.output", "has no output",
    ),
    "result that there never is": (BACK, "'Canceled'", "'Cancelled'", "no result Cancelled"),
    "condition that a template is given": (
        ROLLOUT, "      name: promote\n", "      name: promote\n      condition: succeded()\n",
        "succeded",
    ),
    # what others may change, and secrets
    "retired image": (CI, "ubuntu-24.04", "ubuntu-20.04", "ubuntu-20.04 is retired"),
    "retired image of Windows": (TRAIN, "ubuntu-24.04", "windows-2019", "windows-2019 is retired"),
    "retired image in a matrix": (
        JOBS, "    displayName: submit\n",
        "    displayName: submit\n    strategy: {matrix: {old: {image: ubuntu-18.04}}}\n",
        "ubuntu-18.04 is retired",
    ),
    "image that changes": (DEPLOY, "ubuntu-24.04", "ubuntu-latest", "changes by itself"),
    "another repository's branch": (
        DEPLOY, "resources:\n",
        ("resources:\n  repositories:\n    - repository: shared\n      type: git\n"
         "      name: platform/shared\n      ref: refs/heads/main\n"),
        "platform/shared",
    ),
    "another repository without a ref": (
        DEPLOY, "resources:\n",
        ("resources:\n  repositories:\n    - repository: shared\n      type: git\n"
         "      name: platform/shared\n"),
        "platform/shared",
    ),
    "template of another repository": (
        CI, "templates/variables.yml", "templates/variables.yml@shared", "shared",
    ),
    "checkout of another repository": (
        SETUP, "checkout: self", "checkout: git://platform/shared@refs/heads/main",
        "platform/shared",
    ),
    "secret in a variable": (
        VARIABLES, "name: UV_CACHE_DIR\n    value: $(Pipeline.Workspace)/uv",
        "name: DATABRICKS_TOKEN\n    value: abc", "DATABRICKS_TOKEN",
    ),
    "secret in the environment": (
        VERB, "AZURE_DEVOPS_EXT_PAT: $(System.AccessToken)", "AZURE_DEVOPS_EXT_PAT: abc",
        "AZURE_DEVOPS_EXT_PAT",
    ),
    "secret of a client": (
        VERB, "SYSTEM_ACCESSTOKEN: $(System.AccessToken)", "AZURE_CLIENT_SECRET: $(secret)",
        "AZURE_CLIENT_SECRET",
    ),
    # what the project has
    "output that the verb does not tell": (
        RETRAIN, "look.drift.drifted", "look.drift.driftd", "tells no driftd",
    ),
    "output that another verb tells": (
        JOBS, "outputs['submit.workspace']", "outputs['submit.digest']", "tells no digest",
    ),
    "output of a deployment that the verb does not tell": (
        BACK, "'rollout.rollout.deploy.moved'", "'rollout.rollout.deploy.movd'", "tells no movd",
    ),
    "output across stages that the verb does not tell": (
        DEPLOY, "'rollout.promote.digest'", "'rollout.promote.digets'", "tells no digets",
    ),
    "output of a verb that tells nothing": (
        ROLLOUT, "verb: promote", "verb: champion", "tells no digest: it tells nothing", DEPLOY,
    ),
    "output in a macro that the verb does not tell": (
        ROLLOUT, "      verb: invoke\n",
        "      verb: invoke\n      arguments: $(deploy.deploymnt)\n", "tells no deploymnt",
    ),
    "verb that is not there": (RETRAIN, "verb: drift", "verb: drfit", "drfit: did you mean drift?"),
    "verb for no sign-in that is not there": (CI, "verb: sbom", "verb: bom", "no target bom"),
    "verb that a template names": (
        SETUP, "verb: ${{ parameters.installs }}", "verb: instal", "no target instal",
    ),
    "environment that is not there": (CI, "env: stage", "env: staging", "no environment staging"),
    "environment for a sign-in that is not there": (
        RETRAIN, "env: prod", "env: production", "no environment production",
    ),
    "environment that is none": (CI, "env: stage", "env: base", "no environment base"),
    "suite that is not there": (
        CI, "suite: integration", "suite: integrations", "no suite integrations",
    ),
    "stage of another pipeline": (DEPLOY, "stages: [train]", "stages: [trian]", "no stage trian"),
    "stage of a pipeline without it": (
        RETRAIN, "- stage: train", "- stage: training", "no stage train: it has look, training",
        DEPLOY,
    ),
    "pipeline that is not there": (
        DEPLOY, "source: temperature-anomalies-train\n", "source: temperature-anomalies-trian\n",
        "temperature-anomalies-trian",
    ),
    # values
    "image that never was": (CI, "ubuntu-24.04", "ubuntu-24.40", "no image ubuntu-24.40"),
    "image of the future": (TRAIN, "ubuntu-24.04", "windows-2099", "no image windows-2099"),
    "image of another service": (TRAIN, "ubuntu-24.04", "ubuntu-slim", "no image ubuntu-slim"),
    "image of a job": (
        JOBS, "    displayName: submit\n",
        "    displayName: submit\n    pool: {vmImage: macos-9}\n", "no image macos-9",
    ),
    "hour of a cron": (RETRAIN, "0 4 * * 1", "0 25 * * 1", "hour"),
    "minute of a cron": (RETRAIN, "0 4 * * 1", "0-60 4 * * 1", "minute"),
    "day of a cron": (RETRAIN, "0 4 * * 1", "0 4 0 * *", "day of the month"),
    "month of a cron": (RETRAIN, "0 4 * * 1", "0 4 * 1,13 *", "month"),
    "week day of a cron": (RETRAIN, "0 4 * * 1", "0 4 * * 8", "day of the week"),
    "name in a cron": (RETRAIN, "0 4 * * 1", "0 4 * * Mn", "day of the week"),
    "step of a cron": (RETRAIN, "0 4 * * 1", "*/0 4 * * 1", "minute"),
    "minutes in words": (TESTS, "timeoutInMinutes: 60", "timeoutInMinutes: an hour", "an hour"),
    "minutes with their unit": (
        JOBS, "cancelTimeoutInMinutes: 15", "cancelTimeoutInMinutes: 15m", "15m",
    ),
    "version without quotes": (
        SETUP, 'versionSpec: "3.12"', "versionSpec: 3.10", "reads 3.10 as 3.1",
    ),
    "misspelt variable": (BACK, "$(champion)", "$(champoin)", "did you mean $(champion)?"),
    "misspelt variable of a deployment": (
        ROLLOUT, "${{ parameters.promotion }}", "${{ parameters.promotion }} $(digets)",
        "did you mean $(digest)?",
    ),
    "misspelt short variable": (JOBS, "--job $(job)", "--job $(jbo)", "did you mean $(job)?"),
    "misspelt variable of a task": (
        JOBS, "$(resource_group)", "$(resource_gruop)", "did you mean $(resource_group)?",
    ),
    "identity handed to the script": (
        VERB, "scriptType: bash", "scriptType: bash\n          addSpnToEnvironment: true",
        "addSpnToEnvironment",
    ),
}  # fmt: skip

# Edits of the same kinds that are right: what is edited, what of it, into what.
ACCEPTED: dict[str, tuple[str, str, str]] = {
    "another output of the verb": (JOBS, "['submit.workspace']", "['submit.location']"),
    "output in another case": (RETRAIN, "look.drift.drifted", "look.drift.Drifted"),
    "output that the verb's package tells": (BACK, "promote.version", "promote.digest"),
    "output in a macro": (
        ROLLOUT, "      verb: invoke\n",
        "      verb: invoke\n      arguments: $(deploy.deployment)\n",
    ),
    "another verb": (CI, "verb: sbom", "verb: package"),
    "verb, environment and suite of the run": (
        CI, "verb: sbom\n", "verb: $(verb)\n          env: $(where)\n          suite: $(which)\n",
    ),
    "another environment": (CI, "env: stage", "env: local"),
    "suite in a suite": (
        CI, "verb: sbom\n", "verb: test\n          suite: integration/deployment\n",
    ),
    "other stages": (DEPLOY, "stages: [train]", "stages: [look, Train]"),
    "pipeline of others": (
        DEPLOY, "source: temperature-anomalies-retrain\n", "source: readings-retrain\n",
    ),
    "pipeline of another project": (
        DEPLOY, "source: temperature-anomalies-retrain\n",
        "project: platform\n      source: temperature-anomalies-images\n",
    ),
    "image of Windows": (CI, "ubuntu-24.04", "windows-2025"),
    "image of macOS": (CI, "ubuntu-24.04", "macOS-15"),
    "newest image": (CI, "ubuntu-24.04", "ubuntu-26.04"),
    "image of an own pool": (
        CI, "  vmImage: ubuntu-24.04\n", "  name: ours\n  vmImage: our-image\n",
    ),
    "image of the run": (CI, "vmImage: ubuntu-24.04", "vmImage: $(image)"),
    "lists, ranges and steps of a cron": (
        RETRAIN, "0 4 * * 1", "*/15,59 0-23/2 1,31 Jan-Dec Mon-5",
    ),
    "last values of a cron": (RETRAIN, "0 4 * * 1", "59 23 31 12 6"),
    "no limit": (TESTS, "timeoutInMinutes: 60", "timeoutInMinutes: 0"),
    "limit of the run": (TESTS, "timeoutInMinutes: 60", "timeoutInMinutes: $[ variables.limit ]"),
    "version that YAML keeps": (SETUP, 'versionSpec: "3.12"', "versionSpec: 3.12"),
    "version in quotes": (SETUP, 'versionSpec: "3.12"', "versionSpec: '3.10'"),
    "variable of the portal": (
        ROLLOUT, "${{ parameters.promotion }}", "${{ parameters.promotion }} $(region)",
    ),
    "variable with another number": (
        JOBS, "      job: $[ dependencies.submit.outputs['submit.job'] ]\n    steps",
        ("      job: $[ dependencies.submit.outputs['submit.job'] ]\n      extra1: x\n"
         "      more: $(extra2)\n    steps"),
    ),
    "variable in another case": (BACK, "$(champion)", "$(CHAMPION)"),
    "variable named as a deployment": (BACK, "deployment: $[", "Deployment: $["),
}  # fmt: skip

# Folders of good files: nothing in them may be told as a fault.
GOOD: dict[str, dict[str, str]] = {
    "conditions, loops and lists of templates": {
        "build.yml": """
trigger: none
parameters:
  - name: regions
    type: object
    default: [west, north]
  - name: before
    type: stepList
    default: []
  - name: tags
    type: object
    default: {team: data, tier: gold}
  - name: size
    type: number
    default: 3
  - name: image
    type: string
    default: ubuntu-24.04
    values: [ubuntu-24.04, windows-2025]
variables:
  - ${{ if eq(variables['Build.SourceBranch'], 'refs/heads/main') }}:
      - name: target
        value: main
  - ${{ else }}:
      - name: target
        value: branch
  - name: counted
    value: $[ counter(variables['target'], 0) ]
  - name: label
    value: ${{ format('{0} and {1}', parameters.size, 'it''s') }}
  - group: shared-values
pool:
  vmImage: ${{ parameters.image }}
jobs:
  - ${{ each region in parameters.regions }}:
      - job: build_${{ region }}
        variables:
          ${{ insert }}: ${{ parameters.tags }}
          ${{ each tag in parameters.tags }}:
            TAG_${{ upper(tag.key) }}: ${{ tag.value }}
        steps:
          - ${{ parameters.before }}
          - ${{ if and(ge(parameters.size, 2), not(eq(region, 'north'))) }}:
              - script: echo large
          - ${{ elseif contains(region, 'orth') }}:
              - script: echo north
          - ${{ else }}:
              - script: echo small
  - job: end
    dependsOn:
      - ${{ each region in parameters.regions }}:
          - build_${{ region }}
    condition: and(succeededOrFailed(), ne(variables['Build.Reason'], 'PullRequest'))
    steps:
      - bash: |
          echo "##vso[task.setvariable variable=sum;isOutput=true]3"
          echo "$(cat list.txt) ${HOME}"
        name: count
      - bash: echo "$SUM"
        env:
          SUM: $(count.sum)
""",
    },
    "stages, a matrix, rolling deployments and templates of this repository": {
        "release.yml": """
resources:
  repositories:
    - repository: shared
      type: git
      name: platform/shared
      ref: refs/tags/v1.2.0
  pipelines:
    - pipeline: upstream
      source: other
      trigger: true
pool:
  vmImage: ubuntu-24.04
stages:
  - stage: build
    jobs:
      - template: templates/legs.yml@self
        parameters:
          legs:
            one: {python: "3.11"}
            two: {python: "3.12"}
      - template: lint.yml@shared
  - stage: ship
    dependsOn: build
    condition: and(succeeded(), eq(dependencies.build.outputs['legs.one.set.ok'], 'true'))
    jobs:
      - deployment: ship
        environment:
          name: stage
          resourceType: VirtualMachine
        variables:
          ok: $[ stageDependencies.build.legs.outputs['two.set.ok'] ]
        strategy:
          rolling:
            maxParallel: 2
            deploy:
              steps:
                - checkout: none
                - download: current
                - bash: echo "$(ok)"
  - stage: after
    dependsOn: [build, ship]
    condition: always()
    jobs:
      - template: /azure_pipelines/templates/legs.yml
        parameters:
          name: again
          legs: {only: {python: "3.13"}}
      - job: gate
        pool: server
        dependsOn: again
        steps:
          - task: ManualValidation@0
            inputs:
              notifyUsers: someone@example.org
""",
        "templates/legs.yml": """
parameters:
  - name: legs
    type: object
  - name: name
    type: string
    default: legs
jobs:
  - job: ${{ parameters.name }}
    strategy:
      matrix:
        ${{ each leg in parameters.legs }}:
          ${{ leg.key }}: ${{ leg.value }}
    steps:
      - task: UsePythonVersion@0
        inputs:
          versionSpec: $(python)
      - bash: ./set.sh
        name: set
""",
    },
    "a pipeline that extends a template, and one of steps alone": {
        "main.yml": """
trigger:
  - main
extends:
  template: templates/base.yml
  parameters:
    strict: true
    steps:
      - script: make test
""",
        "short.yml": """
trigger: [main]
pool: {vmImage: windows-2025}
steps:
  - powershell: Get-ChildItem
  - script: echo done
    condition: or(failed(), canceled())
""",
        "templates/base.yml": """
parameters:
  - {name: strict, type: boolean, default: false}
  - {name: steps, type: stepList}
stages:
  - stage: all
    variables:
      - template: values.yml
        parameters: {strict: '${{ parameters.strict }}'}
    jobs:
      - job: run
        pool: {vmImage: ubuntu-24.04}
        steps: ${{ parameters.steps }}
""",
        "templates/values.yml": """
parameters:
  strict: false
variables:
  level: ${{ iif(parameters.strict, 'high', 'low') }}
  API_TOKEN: $(token-of-the-vault)
""",
    },
    "values and variables that only look wrong": {
        "main.yml": """
trigger: none
parameters:
  - name: image
    type: string
    default: ubuntu-26.04
    values: [ubuntu-26.04, macOS-26, windows-2025-vs2026]
  - {name: minutes, type: number, default: 30}
  - {name: python, type: string, default: "3.10"}
schedules:
  - cron: "0 0 1-7 * Mon"
    branches: {include: [main]}
  - cron: "0 */6 * January,JUL SUN-Sat"
    branches: {include: [main]}
resources:
  pipelines:
    - pipeline: one
      source: other-ci
      trigger: {stages: [whatever]}
    - pipeline: two
      source: temperature-anomalies-main
      branch: main
      trigger: true
variables:
  - group: shared
  - {name: version, value: "1"}
  - {name: dev, value: a}
pool: {vmImage: "${{ parameters.image }}"}
stages:
  - stage: a
    variables: {timeoutInMinutes: soon, vmImage: mine, deployment: x, champion: y}
    jobs:
      - job: one
        timeoutInMinutes: ${{ parameters.minutes }}
        strategy:
          matrix:
            old: {python_version: "3.10", image: x}
        steps:
          - task: UsePythonVersion@0
            inputs: {versionSpec: "${{ parameters.python }}"}
          - bash: |
              echo "##vso[task.setvariable variable=colour]red"
              echo $(champoin) $(date)
          - bash: echo
            timeoutInMinutes: 5
            env: {A: $(colour), B: $(region), C: $(python_version), D: $(env), E: $(image)}
      - job: two
        pool: ours
        timeoutInMinutes: $(limit)
        steps:
          - script: x
            name: free
            env: {CI_VERB: drift, CI_ENV: "", CI_SUITE: ""}
      - job: three
        dependsOn: two
        condition: eq(dependencies.two.outputs['free.drifted'], 'true')
        steps: [{script: x}]
""",
    },
}
