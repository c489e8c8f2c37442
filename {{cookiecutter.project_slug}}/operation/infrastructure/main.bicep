// What an environment needs in Azure, in one resource group. The parameter files take all names
// from the azureml.yml that `make provision` reads; docs/azure/infrastructure.md has the commands.
targetScope = 'resourceGroup'

@description('Where everything is made.')
param location string

@minLength(3)
@maxLength(33)
param workspaceName string

@minLength(3)
@maxLength(24)
param storageAccountName string

@minLength(3)
@maxLength(24)
param keyVaultName string

@minLength(5)
@maxLength(50)
param containerRegistryName string

@minLength(1)
@maxLength(255)
param applicationInsightsName string

@minLength(4)
@maxLength(63)
param logAnalyticsName string

@description('Name of a cluster -> its size, tier, least and most machines, idle seconds.')
param clusters object

@description('Name of a datastore -> its storage account and container.')
param datastores object

@description('Disabled: reached through private endpoints only, and jobs run in a managed network.')
@allowed([
  'Disabled'
  'Enabled'
])
param publicNetworkAccess string = 'Disabled'

@description('Whether deleted secrets stay recoverable for 90 days. Cannot be taken back.')
param purgeProtection bool = true

@description('ARM id of the subnet of the private endpoints; empty: none are made here.')
param privateEndpointSubnetId string = ''

@description('Object id of the service principal of CI; empty: it is given no roles here.')
param ciPrincipalId string = ''

module storage 'modules/storage.bicep' = {
  name: 'storage'
  params: {
    name: storageAccountName
    location: location
    publicNetworkAccess: publicNetworkAccess
    datastores: datastores
  }
}

module vault 'modules/vault.bicep' = {
  name: 'vault'
  params: {
    name: keyVaultName
    location: location
    publicNetworkAccess: publicNetworkAccess
    purgeProtection: purgeProtection
  }
}

module registry 'modules/registry.bicep' = {
  name: 'registry'
  params: {
    name: containerRegistryName
    location: location
    publicNetworkAccess: publicNetworkAccess
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    name: applicationInsightsName
    logAnalyticsName: logAnalyticsName
    location: location
  }
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  params: {
    name: 'id-${workspaceName}'
    location: location
    storageAccountName: storage.outputs.name
    keyVaultName: vault.outputs.name
    containerRegistryName: registry.outputs.name
    applicationInsightsName: monitoring.outputs.name
  }
}

module workspace 'modules/workspace.bicep' = {
  name: 'workspace'
  params: {
    name: workspaceName
    location: location
    publicNetworkAccess: publicNetworkAccess
    identityName: identity.outputs.name
    storageAccountName: storage.outputs.name
    keyVaultName: vault.outputs.name
    containerRegistryName: registry.outputs.name
    applicationInsightsName: monitoring.outputs.name
    imageBuildCluster: empty(clusters) ? '' : items(clusters)[0].key
  }
}

module cluster 'modules/cluster.bicep' = [for one in items(clusters): {
  name: 'cluster-${one.key}'
  params: {
    name: one.key
    location: location
    publicNetworkAccess: publicNetworkAccess
    wanted: one.value
    workspaceName: workspace.outputs.name
    storageAccountName: storage.outputs.name
    containerRegistryName: registry.outputs.name
  }
}]

module ci 'modules/roles.bicep' = if (!empty(ciPrincipalId)) {
  name: 'roles-of-ci'
  params: {
    principalId: ciPrincipalId
    workspaceName: workspace.outputs.name
    storageAccountName: storage.outputs.name
    containerRegistryName: registry.outputs.name
  }
}

module endpoints 'modules/private_endpoints.bicep' = if (!empty(privateEndpointSubnetId)) {
  name: 'private-endpoints'
  params: {
    location: location
    subnetId: privateEndpointSubnetId
    workspaceName: workspace.outputs.name
    storageAccountName: storage.outputs.name
    keyVaultName: vault.outputs.name
    containerRegistryName: registry.outputs.name
  }
}
