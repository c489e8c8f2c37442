using 'main.bicep'

// As `make provision ENV=stage` reads it: the environment's file over base. Names are changed there.
var base = loadYamlContent('../configuration/base/azureml.yml')
var own = loadYamlContent('../configuration/stage/azureml.yml')
var configuration = union({ clusters: {}, datastores: {} }, base, own)

param location = configuration.workspace.location
param workspaceName = configuration.workspace.name
param storageAccountName = configuration.workspace.storage_account
param keyVaultName = configuration.workspace.key_vault
param containerRegistryName = configuration.workspace.container_registry
param applicationInsightsName = configuration.workspace.application_insights
param logAnalyticsName = configuration.workspace.log_analytics
param clusters = configuration.clusters
param datastores = configuration.datastores

// Private: give the subnet below, and let CI run inside its network. 'Enabled' makes it public.
param publicNetworkAccess = 'Disabled'
param privateEndpointSubnetId = ''
param purgeProtection = true

// Object id of the service principal of CI: az ad sp show --id CLIENT_ID --query id
param ciPrincipalId = ''
