using 'main.bicep'

// The environment's file over base, as `kedro mlops provision --env prod` merges them. Change names there.
var base = loadYamlContent('../configuration/base/azureml.yml')
var own = loadYamlContent('../configuration/prod/azureml.yml')

param configuration = union({ clusters: {}, datastores: {} }, base, own)

// Private: set the subnet below, and run CI inside its network. 'Enabled' makes it public.
param publicNetworkAccess = 'Disabled'
param privateEndpointSubnetId = ''
param purgeProtection = true

// Object id of the service principal of CI: az ad sp show --id CLIENT_ID --query id
param ciPrincipalId = ''
// Alerts: to whom, and about which endpoint (mlops.yml), once it is deployed.
param alertEmail = ''
param alertEndpoint = ''
