using 'main.bicep'

// As `make provision ENV=dev` reads it: the environment's file over base. Names are changed there.
var base = loadYamlContent('../configuration/base/azureml.yml')
var own = loadYamlContent('../configuration/dev/azureml.yml')
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

// 'Disabled' makes it private: then give the subnet, and let CI run inside its network.
param publicNetworkAccess = 'Enabled'
param privateEndpointSubnetId = ''
param purgeProtection = false

// Object id of the service principal of CI: az ad sp show --id CLIENT_ID --query id
param ciPrincipalId = ''
