// Everything that a principal (a cluster or CI) needs to run jobs: no access to keys, clusters or roles.
param principalId string
param workspaceName string
param storageAccountName string
param containerRegistryName string

var roles = 'Microsoft.Authorization/roleDefinitions'
var azureMLDataScientist = subscriptionResourceId(roles, 'f6c7c914-8db3-469d-8ca1-694a8f32e121')
var storageBlobDataContributor = subscriptionResourceId(roles, 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
var acrPull = subscriptionResourceId(roles, '7f951dda-4ed3-4680-a7ca-43fe172d538d')

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-06-01' existing = {
  name: workspaceName
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageAccountName
}

resource registry 'Microsoft.ContainerRegistry/registries@2023-07-01' existing = {
  name: containerRegistryName
}

resource onWorkspace 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, principalId, azureMLDataScientist)
  scope: workspace
  properties: { principalId: principalId, principalType: 'ServicePrincipal', roleDefinitionId: azureMLDataScientist }
}

resource onStorage 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, principalId, storageBlobDataContributor)
  scope: storage
  properties: { principalId: principalId, principalType: 'ServicePrincipal', roleDefinitionId: storageBlobDataContributor }
}

resource onRegistry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, principalId, acrPull)
  scope: registry
  properties: { principalId: principalId, principalType: 'ServicePrincipal', roleDefinitionId: acrPull }
}
