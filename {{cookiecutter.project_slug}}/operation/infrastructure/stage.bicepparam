using 'main.bicep'

// The environment's file over base, as `kedro mlops provision --env stage` merges them. Change names there.
var base = loadYamlContent('../configuration/base/azureml.yml')
var own = loadYamlContent('../configuration/stage/azureml.yml')

param configuration = union({ clusters: {}, datastores: {} }, base, own)

// Private: set the subnet below, and run CI inside its network. 'Enabled' makes it public.
param publicNetworkAccess = 'Disabled'
param privateEndpointSubnetId = ''
param purgeProtection = true

// Object id of the service principal of CI: az ad sp show --id CLIENT_ID --query id
param ciPrincipalId = ''
