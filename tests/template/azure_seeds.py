"""Defects to seed into the project's Azure pipelines, and valid pipelines of other projects."""

CI = "azure_pipelines/ci.yml"
DEPLOY = "azure_pipelines/deploy.yml"
TRAIN = "azure_pipelines/train.yml"
UPDATE = "azure_pipelines/template-update.yml"
AZURE = "azure_pipelines/templates/azure.yml"
ROLLOUT = "azure_pipelines/templates/rollout.yml"
SETUP = "azure_pipelines/templates/setup.yml"

# name: file, old text, new text, expected part of the message (alternatives separated by a bar).
# The message refers to the edited file unless a fifth item names another.
DEFECTS: dict[str, tuple[str, ...]] = {
    # the schema
    "key of a step": (CI, "- bash: make check", "- bsh: make check", "bsh"),
    "key of a job": (
        CI, "    timeoutInMinutes: 30\n    steps:\n      - template: templates/setup.yml\n"
        "      - bash: make check",
        "    timeoutMinutes: 30\n    steps:\n      - template: templates/setup.yml\n"
        "      - bash: make check", "timeoutMinutes",
    ),
    "key of a trigger": (TRAIN, "  branches:", "  branchs:", "branchs"),
    "key of a stage": (TRAIN, "    dependsOn: look", "    dependsUpon: look", "dependsUpon"),
    "key of a deployment": (DEPLOY, "environment: stage", "enviroment: stage", "enviroment"),
    "hook of a deployment": (DEPLOY, "            deploy:\n", "            deplyo:\n", "deplyo"),
    "key of a schedule": (TRAIN, "    always: true", "    allways: true", "allways"),
    "key of a pool": (CI, "  vmImage: ubuntu", "  vmimage: ubuntu", "vmimage"),
    "empty pool": (TRAIN, "  vmImage: ubuntu-24.04\n", "", "the pool is empty"),
    "key beside a template": (
        TRAIN, "            parameters:\n              install",
        "            parametrs:\n              install",
        "parametrs",
    ),
    "deployment without approval": (
        DEPLOY, "        environment: stage\n", "", "names no environment",
    ),
    "steps of a wrong indent": (
        TRAIN, "            steps:\n              - task: AzureML",
        "              steps:\n                - task: AzureML",
        "job wait has no steps|this is not valid YAML",
    ),
    "kind of a job": (TRAIN, "- job: submit", "- jb: submit", "jb"),
    "steps that are not a list": (
        DEPLOY,
        ("              steps:\n                - template: templates/rollout.yml\n"
         "                  parameters:\n                    env: stage\n"),
        "              steps: templates/rollout.yml\n", "steps",
    ),
    "input of a task": (CI, "testResultsFiles:", "testResultFiles:", "testResultFiles"),
    "input of a task the schema lacks": (CI, "pathToSources:", "pathToSource:", "pathToSource"),
    "input of a task of the extension": (TRAIN, "azureMLJobName:", "azureMLJob:", "azureMLJobName"),
    "missing input": (
        AZURE, "      azureSubscription: azure-temperature-anomalies-${{ parameters.env }}\n",
        "", "azureSubscription",
    ),
    "value of an input": (AZURE, "scriptType: bash", "scriptType: zsh", "zsh"),
    "unknown task": (SETUP, "UsePythonVersion@0", "UsePythonVersions@0", "UsePythonVersions@0"),
    "unknown version of a task": (SETUP, "Cache@2", "Cache@9", "Cache@9"),
    "variable without a value": (
        CI, "  UV_CACHE_DIR: $(Pipeline.Workspace)/uv",
        "  - name: UV_CACHE_DIR\n    vlaue: $(Pipeline.Workspace)/uv", "vlaue",
    ),
    # YAML
    "invalid YAML": (
        CI, "pool:\n  vmImage", "pool:\n vmImage: x\n  vmImage", "this is not valid YAML",
    ),
    "duplicate key": (CI, "pool:\n", "pool: {}\npool:\n", "pool"),
    "anchor": (CI, "pool:\n", "pool: &pool\n", "anchors"),
    "cron of four fields": (TRAIN, "0 4 * * 1", "0 4 * *", "five fields"),
    # templates and their parameters
    "missing template": (CI, "templates/setup.yml", "templates/set.yml", "templates/set.yml"),
    "missing template of the extension": (
        ROLLOUT, "- template: azure.yml", "- template: templates/azure.yml",
        "azure_pipelines/templates/templates/azure.yml",
    ),
    "unknown parameter": (TRAIN, "install: azure", "installs: azure", "installs"),
    "missing parameter": (
        DEPLOY, "                  parameters:\n                    env: stage\n", "",
        "needs the parameter env",
    ),
    "value that is not allowed": (TRAIN, "install: azure", "install: docker", "docker"),
    "parameter of the wrong type": (UPDATE, "pushes: true", "pushes: perhaps", "boolean"),
    "list for a text": (ROLLOUT, "name: deploy", "name: [deploy]", "string"),
    "undeclared parameter": (AZURE, "parameters.command", "parameters.comand", "comand"),
    "unknown type of a parameter": (TRAIN, "type: boolean", "type: bool", "bool"),
    "default that is not allowed": (SETUP, "default: setup", "default: stup", "stup"),
    "parameter declared twice": (SETUP, "- name: pushes", "- name: install", "twice"),
    "key of a parameter": (SETUP, "    default: setup", "    defualt: setup", "defualt"),
    "circular templates": (
        ROLLOUT, "- template: setup.yml\n    parameters:\n      install: azure",
        "- template: rollout.yml\n    parameters:\n      env: x", "cycle",
    ),
    "template of the wrong kind": (
        CI, "jobs:\n", "jobs:\n  - template: templates/setup.yml\n", "jobs",
    ),
    # expressions
    "brackets of an expression": (
        TRAIN, "ne(dependencies.submit.outputs['submit.job'], ''))",
        "ne(dependencies.submit.outputs['submit.job'], '')", "unbalanced brackets",
    ),
    "superfluous bracket": (TRAIN, "''))))", "'')))))", "unbalanced brackets"),
    "open template expression": (
        AZURE, "condition: ${{ parameters.condition }}", "condition: ${{ parameters.condition }",
        "not closed",
    ),
    "open run expression": (
        TRAIN, "job: $[ dependencies.submit.outputs['submit.job'] ]",
        "job: $[ dependencies.submit.outputs['submit.job']  ", "unbalanced|not closed",
    ),
    "open quote": (TRAIN, "'Canceled')),", "'Canceled)),", "quote"),
    "double quotes": (TRAIN, "['submit.job'], ''", '["submit.job"], \'\'', "single quotes"),
    "operator": (SETUP, "if parameters.pushes", "if parameters.pushes == true", "=="),
    "unknown function in a template": (
        AZURE, "if parameters.name", "if equals(parameters.name, true)", "equals",
    ),
    "unknown function in a condition": (TRAIN, "and(succeeded()", "and(suceeded()", "suceeded"),
    "status in a template": (AZURE, "if parameters.name", "if succeeded()", "only in a condition"),
    "too few arguments": (
        TRAIN, "eq('${{ parameters.if_drifted }}', 'true')", "eq('${{ parameters.if_drifted }}')",
        "takes 2 arguments",
    ),
    "parameter in a condition of a run": (
        TRAIN, "'${{ parameters.if_drifted }}'", "parameters.if_drifted", "parameters",
    ),
    "text without quotes": (
        UPDATE, "variables['TEMPLATE_UPDATE'], 'on'", "variables['TEMPLATE_UPDATE'], on", "on is",
    ),
    "each without a list": (
        AZURE, "if parameters.name", "each parameters.name", "each NAME in LIST",
    ),
    # dependencies
    "unknown job": (TRAIN, "        dependsOn: submit", "        dependsOn: sumbit", "sumbit"),
    "unknown job in a list": (TRAIN, "      - verdict\n", "      - verdikt\n", "verdikt"),
    "unknown stage": (DEPLOY, "dependsOn: to_stage", "dependsOn: stage", "depends on stage stage"),
    "circular stages": (DEPLOY, "dependsOn: []", "dependsOn: to_prod", "forever"),
    "circular jobs": (
        TRAIN, "        displayName: submit\n",
        "        displayName: submit\n        dependsOn: cancel\n",
        "forever",
    ),
    "duplicate job": (CI, "- job: supply", "- job: test", "test is used twice"),
    "duplicate stage": (TRAIN, "- stage: train", "- stage: look", "look is used twice"),
    "duplicate step": (
        ROLLOUT, "      name: deploy\n",
        "      name: deploy\n  - bash: x\n    name: deploy\n", "deploy is used twice",
    ),
    "deployment named by a keyword": (
        DEPLOY, "- deployment: rollout", "- deployment: deploy", "cannot be named deploy",
    ),
    # outputs of other jobs and stages
    "output of an unknown step": (TRAIN, "'submit.job'", "'send.job'", "no step named send"),
    "output of a missing job": (
        TRAIN, "dependencies.submit.outputs['submit.workspace']",
        "dependencies.send.outputs['submit.workspace']", "no job send",
    ),
    "output of a job that is no dependency": (
        TRAIN, "            dependsOn: submit\n", "", "is not a dependency",
    ),
    "output of a deployment without its name": (
        DEPLOY, "outputs['rollout.deploy.digest']", "outputs['deploy.digest']",
        "rollout.STEP.NAME",
    ),
    "output of a deployment by its hook": (
        DEPLOY, "outputs['rollout.deploy.digest']", "outputs['deploy.deploy.digest']",
        "rollout.STEP.NAME",
    ),
    "output of a stage that is no dependency": (
        DEPLOY, "dependsOn: to_stage", "dependsOn: []", "is not a dependency",
    ),
    "output of a missing stage": (
        DEPLOY, "stageDependencies.to_stage", "stageDependencies.stage", "no stage stage",
    ),
    "output of a missing job of another stage": (
        DEPLOY, ".rollout.outputs['rollout", ".roll.outputs['rollout", "no job roll",
    ),
    "renamed step": (
        ROLLOUT, "name: deploy", "name: deployment", "no step named deploy", DEPLOY,
    ),
    "condition of a stage": (
        TRAIN, "dependencies.look.outputs['look.decide.data_of']",
        "stageDependencies.look.look.outputs['decide.data_of']", "cannot use stageDependencies",
    ),
    "condition of a step": (
        ROLLOUT, "variables['deploy.moved']", "dependencies.back.outputs['x.y']",
        "cannot use dependencies",
    ),
    "condition on a missing step": (
        ROLLOUT, "variables['deploy.moved']", "variables['deploi.moved']",
        "refers to no earlier step",
    ),
    "macro of an unknown step": (
        TRAIN, "azureMLJobName: $(job)", "azureMLJobName: $(submit.job)", "$(submit.job)",
    ),
    "misspelt outputs": (
        TRAIN, "dependencies.submit.outputs", "dependencies.submit.output", "has no output",
    ),
    "impossible result": (TRAIN, "'Canceled'", "'Cancelled'", "no result Cancelled"),
    "condition passed to a template": (
        ROLLOUT, "      name: deploy\n", "      name: deploy\n      condition: succeded()\n",
        "succeded",
    ),
    # moving references and secrets
    "retired image": (CI, "ubuntu-24.04", "ubuntu-20.04", "ubuntu-20.04 is retired"),
    "retired image of Windows": (TRAIN, "ubuntu-24.04", "windows-2019", "windows-2019 is retired"),
    "retired image in a matrix": (
        TRAIN, "        displayName: submit\n",
        "        displayName: submit\n        strategy: {matrix: {old: {image: ubuntu-18.04}}}\n",
        "ubuntu-18.04 is retired",
    ),
    "moving image": (DEPLOY, "ubuntu-24.04", "ubuntu-latest", "changes over time"),
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
        CI, "templates/setup.yml", "templates/setup.yml@shared", "shared",
    ),
    "checkout of another repository": (
        SETUP, "checkout: self", "checkout: git://platform/shared@refs/heads/main",
        "platform/shared",
    ),
    "secret in a variable": (
        CI, "UV_CACHE_DIR: $(Pipeline.Workspace)/uv", "DATABRICKS_TOKEN: abc", "DATABRICKS_TOKEN",
    ),
    "secret in the environment": (
        UPDATE, "AZURE_DEVOPS_EXT_PAT: $(System.AccessToken)", "AZURE_DEVOPS_EXT_PAT: abc",
        "AZURE_DEVOPS_EXT_PAT",
    ),
    "secret of a client": (
        AZURE, "SYSTEM_ACCESSTOKEN: $(System.AccessToken)", "AZURE_CLIENT_SECRET: $(secret)",
        "AZURE_CLIENT_SECRET",
    ),
    # names of the project
    "output that the script does not report": (
        TRAIN, "look.decide.data_of", "look.decide.data_fo", "reports no data_fo",
    ),
    "output across stages that the script does not report": (
        DEPLOY, "'rollout.deploy.digest'", "'rollout.deploy.digets'", "reports no digets",
    ),
    "output in a condition that the script does not report": (
        ROLLOUT, "'deploy.champion'", "'deploy.champoin'", "reports no champoin",
    ),
    "missing script": (
        TRAIN, "execution/monitor.py", "execution/monitr.py", "monitr: did you mean monitor?",
        AZURE,
    ),
    "missing command": (
        CI, "kedro mlops audit", "kedro mlops adit", "adit: did you mean audit?",
    ),
    "missing target": (CI, "bash: make check", "bash: make chek", "did you mean check?"),
    "missing environment": (
        CI, "--env stage", "--env staging", "named staging: did you mean stage?",
    ),
    "base as an environment": (CI, "--env stage", "--env base", "environment in operation"),
    "unknown stage of another pipeline": (
        DEPLOY, "stages: [train]", "stages: [trian]", "no stage trian",
    ),
    "renamed stage of another pipeline": (
        TRAIN, "- stage: train", "- stage: training", "no stage train: it has look, training",
        DEPLOY,
    ),
    "missing pipeline": (
        DEPLOY, "source: temperature-anomalies-train\n", "source: temperature-anomalies-trian\n",
        "temperature-anomalies-trian",
    ),
    # values
    "image that never existed": (CI, "ubuntu-24.04", "ubuntu-24.40", "no image ubuntu-24.40"),
    "image of the future": (TRAIN, "ubuntu-24.04", "windows-2099", "no image windows-2099"),
    "image of another service": (TRAIN, "ubuntu-24.04", "ubuntu-slim", "no image ubuntu-slim"),
    "image of a job": (
        TRAIN, "        displayName: submit\n",
        "        displayName: submit\n        pool: {vmImage: macos-9}\n", "no image macos-9",
    ),
    "hour of a cron": (TRAIN, "0 4 * * 1", "0 25 * * 1", "hour"),
    "minute of a cron": (TRAIN, "0 4 * * 1", "0-60 4 * * 1", "minute"),
    "day of a cron": (TRAIN, "0 4 * * 1", "0 4 0 * *", "day of the month"),
    "month of a cron": (TRAIN, "0 4 * * 1", "0 4 * 1,13 *", "month"),
    "week day of a cron": (TRAIN, "0 4 * * 1", "0 4 * * 8", "day of the week"),
    "name in a cron": (TRAIN, "0 4 * * 1", "0 4 * * Mn", "day of the week"),
    "step of a cron": (TRAIN, "0 4 * * 1", "*/0 4 * * 1", "minute"),
    "minutes in words": (UPDATE, "timeoutInMinutes: 30", "timeoutInMinutes: an hour", "an hour"),
    "minutes with their unit": (
        TRAIN, "cancelTimeoutInMinutes: 15", "cancelTimeoutInMinutes: 15m", "15m",
    ),
    "version without quotes": (
        SETUP, 'versionSpec: "3.12"', "versionSpec: 3.10", "reads 3.10 as 3.1",
    ),
    "misspelt variable of a task": (
        TRAIN, "$(resource_group)", "$(resource_gruop)", "did you mean $(resource_group)?",
    ),
    "misspelt short variable": (
        TRAIN, "azureMLJobName: $(job)", "azureMLJobName: $(jbo)", "did you mean $(job)?",
    ),
    "identity handed to the script": (
        AZURE, "scriptType: bash", "scriptType: bash\n      addSpnToEnvironment: true",
        "addSpnToEnvironment",
    ),
}  # fmt: skip

# Similar edits that are valid: file, old text, new text.
ACCEPTED: dict[str, tuple[str, str, str]] = {
    "another output of the script": (TRAIN, "['submit.workspace']", "['submit.studio']"),
    "output in another case": (TRAIN, "look.decide.data_of", "look.decide.Data_Of"),
    "another target": (CI, "bash: make check", "bash: make package"),
    "environment of the run": (CI, "--env stage", '--env "$WHERE"'),
    "another environment": (CI, "--env stage", "--env local"),
    "other stages": (DEPLOY, "stages: [train]", "stages: [look, Train]"),
    "pipeline with another prefix": (
        DEPLOY, "source: temperature-anomalies-train\n", "source: others-retrain\n",
    ),
    "pipeline of another project": (
        DEPLOY, "source: temperature-anomalies-train\n",
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
        TRAIN, "0 4 * * 1", "*/15,59 0-23/2 1,31 Jan-Dec Mon-5",
    ),
    "last values of a cron": (TRAIN, "0 4 * * 1", "59 23 31 12 6"),
    "no limit": (UPDATE, "timeoutInMinutes: 30", "timeoutInMinutes: 0"),
    "limit of the run": (UPDATE, "timeoutInMinutes: 30", "timeoutInMinutes: $[ variables.limit ]"),
    "version that YAML keeps": (SETUP, 'versionSpec: "3.12"', "versionSpec: 3.12"),
    "version in quotes": (SETUP, 'versionSpec: "3.12"', "versionSpec: '3.10'"),
    "variable of the portal": (
        TRAIN, "azureMLJobName: $(job)", "azureMLJobName: $(job)-$(region)",
    ),
    "variable with another number": (
        TRAIN, "          job: $[ dependencies.submit.outputs['submit.job'] ]\n        steps",
        ("          job: $[ dependencies.submit.outputs['submit.job'] ]\n          extra1: x\n"
         "          more: $(extra2)\n        steps"),
    ),
    "variable in another case": (TRAIN, "azureMLJobName: $(job)", "azureMLJobName: $(JOB)"),
}  # fmt: skip

# Folders of valid files, in which no fault may be reported.
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
      - job: three
        dependsOn: two
        condition: eq(dependencies.two.outputs['free.drifted'], 'true')
        steps: [{script: x}]
""",
    },
}
