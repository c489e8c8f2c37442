using 'main.bicep'

// The environment's file over base, as `kedro mlops provision --env dev` merges them. Change names there.
var base = loadYamlContent('../configuration/base/azureml.yml')
var own = loadYamlContent('../configuration/dev/azureml.yml')

param configuration = union({ clusters: {}, datastores: {} }, base, own)

// 'Disabled' makes it private: then set the subnet, and run CI inside its network.
param publicNetworkAccess = 'Enabled'
param privateEndpointSubnetId = ''
param purgeProtection = false

// Object id of the service principal of CI: az ad sp show --id CLIENT_ID --query id
param ciPrincipalId = ''
