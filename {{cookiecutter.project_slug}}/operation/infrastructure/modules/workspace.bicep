// The workspace, upon stores that are there. Its datastores are opened by identity.
param name string
param location string
param publicNetworkAccess string
param identityName string
param storageAccountName string
param keyVaultName string
param containerRegistryName string
param applicationInsightsName string

@description('Builds images where the registry is private; empty: none does.')
param imageBuildCluster string

var isPrivate = publicNetworkAccess == 'Disabled'
var contributor = 'b24988ac-6180-42a0-ab88-20f7382dd24c'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-06-01' = {
  name: name
  location: location
  kind: 'Default'
  sku: {
    name: 'Basic'
    tier: 'Basic'
  }
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    friendlyName: name
    primaryUserAssignedIdentity: identity.id
    storageAccount: resourceId('Microsoft.Storage/storageAccounts', storageAccountName)
    keyVault: resourceId('Microsoft.KeyVault/vaults', keyVaultName)
    containerRegistry: resourceId('Microsoft.ContainerRegistry/registries', containerRegistryName)
    applicationInsights: resourceId('Microsoft.Insights/components', applicationInsightsName)
    systemDatastoresAuthMode: 'Identity'
    publicNetworkAccess: publicNetworkAccess
    imageBuildCompute: isPrivate && !empty(imageBuildCluster) ? imageBuildCluster : null
    managedNetwork: {
      isolationMode: isPrivate ? 'AllowInternetOutbound' : 'Disabled'
    }
  }
}

resource onWorkspace 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, identity.id, contributor)
  scope: workspace
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', contributor)
  }
}

output name string = workspace.name
