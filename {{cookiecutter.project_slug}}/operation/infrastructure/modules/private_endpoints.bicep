// Ways into the private environment from one subnet. Their names in DNS are left to the network's
// own policy, as most have one.
param location string
param subnetId string
param workspaceName string
param storageAccountName string
param keyVaultName string
param containerRegistryName string

var ways = [
  {
    name: 'pe-${workspaceName}'
    target: resourceId('Microsoft.MachineLearningServices/workspaces', workspaceName)
    group: 'amlworkspace'
  }
  {
    name: 'pe-${storageAccountName}-blob'
    target: resourceId('Microsoft.Storage/storageAccounts', storageAccountName)
    group: 'blob'
  }
  {
    name: 'pe-${storageAccountName}-file'
    target: resourceId('Microsoft.Storage/storageAccounts', storageAccountName)
    group: 'file'
  }
  {
    name: 'pe-${keyVaultName}'
    target: resourceId('Microsoft.KeyVault/vaults', keyVaultName)
    group: 'vault'
  }
  {
    name: 'pe-${containerRegistryName}'
    target: resourceId('Microsoft.ContainerRegistry/registries', containerRegistryName)
    group: 'registry'
  }
]

resource endpoint 'Microsoft.Network/privateEndpoints@2024-05-01' = [for way in ways: {
  name: way.name
  location: location
  properties: {
    subnet: {
      id: subnetId
    }
    privateLinkServiceConnections: [
      {
        name: way.name
        properties: {
          privateLinkServiceId: way.target
          groupIds: [
            way.group
          ]
        }
      }
    ]
  }
}]
