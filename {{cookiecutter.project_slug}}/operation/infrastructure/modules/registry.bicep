// Images of jobs and endpoints. Without the admin user there is no password.
param name string
param location string
param publicNetworkAccess string

resource registry 'Microsoft.ContainerRegistry/registries@2023-07-01' = {
  name: name
  location: location
  sku: {
    // only Premium has private endpoints
    name: publicNetworkAccess == 'Enabled' ? 'Basic' : 'Premium'
  }
  properties: {
    adminUserEnabled: false
    publicNetworkAccess: publicNetworkAccess
    networkRuleBypassOptions: 'AzureServices'
  }
}

output name string = registry.name
