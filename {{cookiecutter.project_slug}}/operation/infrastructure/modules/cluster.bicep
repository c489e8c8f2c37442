// A cluster with an identity of its own, as which jobs run without keys. What azureml.yml leaves
// out is as operation/azureml/config.py has it.
param name string
param location string
param publicNetworkAccess string
param wanted object
param workspaceName string
param storageAccountName string
param containerRegistryName string

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-06-01' existing = {
  name: workspaceName
}

resource cluster 'Microsoft.MachineLearningServices/workspaces/computes@2025-06-01' = {
  parent: workspace
  name: name
  location: location
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    computeType: 'AmlCompute'
    properties: {
      vmSize: wanted.size
      vmPriority: (wanted.?tier ?? 'dedicated') == 'dedicated' ? 'Dedicated' : 'LowPriority'
      scaleSettings: {
        minNodeCount: wanted.?min_instances ?? 0
        maxNodeCount: wanted.?max_instances ?? 4
        nodeIdleTimeBeforeScaleDown: 'PT${wanted.?idle_seconds ?? 300}S'
      }
      enableNodePublicIp: publicNetworkAccess == 'Enabled'
      remoteLoginPortPublicAccess: 'Disabled'
    }
  }
}

module roles 'roles.bicep' = {
  name: 'roles-of-${name}'
  params: {
    principalId: cluster.identity.principalId
    workspaceName: workspaceName
    storageAccountName: storageAccountName
    containerRegistryName: containerRegistryName
  }
}
