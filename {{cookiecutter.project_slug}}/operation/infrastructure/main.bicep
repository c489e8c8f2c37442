// The Azure resources of an environment, in one resource group: the same resources, under the same names,
// as `kedro mlops provision` creates. All names come from azureml.yml, through the parameter files.
targetScope = 'resourceGroup'

@description('The keys workspace, clusters and datastores of azureml.yml.')
param configuration object

@description('Disabled: reached through private endpoints only, and jobs run in a managed network.')
@allowed([
  'Disabled'
  'Enabled'
])
param publicNetworkAccess string = 'Disabled'

@description('Whether deleted secrets stay recoverable for 90 days. Cannot be undone.')
param purgeProtection bool = true

@description('ARM id of the subnet of the private endpoints; empty: none are created.')
param privateEndpointSubnetId string = ''

@description('Object id of the service principal of CI; empty: it gets no roles.')
param ciPrincipalId string = ''

@description('E-mail address that receives the alerts; empty: no alerts.')
param alertEmail string = ''

@description('deployment.endpoint of mlops.yml, once it is deployed; empty: alerts watch no endpoint.')
param alertEndpoint string = ''

var names = configuration.workspace
var location = names.location
var clusters = items(configuration.clusters)
var isPrivate = publicNetworkAccess == 'Disabled'
var account = names.storage_account
var own = filter(items(configuration.datastores), store => store.value.account_name == account)
var containers = union(map(own, store => store.value.container_name), [])
var networkAcls = {
  bypass: 'AzureServices'
  defaultAction: isPrivate ? 'Deny' : 'Allow'
}

var roles = 'Microsoft.Authorization/roleDefinitions'
var contributor = subscriptionResourceId(roles, 'b24988ac-6180-42a0-ab88-20f7382dd24c')
var storageBlobDataContributor = subscriptionResourceId(roles, 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
var keyVaultAdministrator = subscriptionResourceId(roles, '00482a5a-887f-4fb3-b363-3b7fe8e74483')

// Data, code and models of the workspace: accessed by identity, never with an account key.
resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: account
  location: location
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    publicNetworkAccess: publicNetworkAccess
    networkAcls: networkAcls
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: storage
  name: 'default'
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = [for one in containers: {
  parent: blobs
  name: one
  properties: { publicAccess: 'None' }
}]

// Secrets that Azure ML keeps for the workspace; roles control who may read them.
resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: names.key_vault
  location: location
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90 // Azure's default; can never be changed
    // Azure refuses false: set true or leave it out
    enablePurgeProtection: purgeProtection ? true : null
    publicNetworkAccess: publicNetworkAccess
    networkAcls: networkAcls
  }
}

// Images of jobs and endpoints. Without the admin user there is no password.
resource registry 'Microsoft.ContainerRegistry/registries@2023-07-01' = {
  name: names.container_registry
  location: location
  sku: { name: isPrivate ? 'Premium' : 'Basic' } // only Premium has private endpoints
  properties: {
    adminUserEnabled: false
    publicNetworkAccess: publicNetworkAccess
    networkRuleBypassOptions: 'AzureServices'
  }
}

// Logs and metrics of endpoints. They are sent in over the public address of Azure Monitor.
resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: names.log_analytics
  location: location
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: 30
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: names.application_insights
  location: location
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logs.id
  }
}

// The workspace's own identity, with the roles that Azure ML requires.
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-${names.name}'
  location: location
}

resource onStorage 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in [contributor, storageBlobDataContributor]: {
  name: guid(storage.id, identity.id, role)
  scope: storage
  properties: { principalId: identity.properties.principalId, principalType: 'ServicePrincipal', roleDefinitionId: role }
}]

resource onVault 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in [contributor, keyVaultAdministrator]: {
  name: guid(vault.id, identity.id, role)
  scope: vault
  properties: { principalId: identity.properties.principalId, principalType: 'ServicePrincipal', roleDefinitionId: role }
}]

resource onRegistry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, identity.id, contributor)
  scope: registry
  properties: { principalId: identity.properties.principalId, principalType: 'ServicePrincipal', roleDefinitionId: contributor }
}

resource onInsights 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, identity.id, contributor)
  scope: insights
  properties: { principalId: identity.properties.principalId, principalType: 'ServicePrincipal', roleDefinitionId: contributor }
}

resource onWorkspace 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, identity.id, contributor)
  scope: workspace
  properties: { principalId: identity.properties.principalId, principalType: 'ServicePrincipal', roleDefinitionId: contributor }
}

// Its datastores are accessed by identity.
resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-06-01' = {
  name: names.name
  location: location
  kind: 'Default'
  sku: { name: 'Basic', tier: 'Basic' }
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    friendlyName: names.name
    primaryUserAssignedIdentity: identity.id
    storageAccount: storage.id
    keyVault: vault.id
    containerRegistry: registry.id
    applicationInsights: insights.id
    systemDatastoresAuthMode: 'Identity'
    publicNetworkAccess: publicNetworkAccess
    // builds images if the registry is private
    imageBuildCompute: isPrivate && !empty(clusters) ? clusters[0].key : null
    managedNetwork: { isolationMode: isPrivate ? 'AllowInternetOutbound' : 'Disabled' }
  }
  dependsOn: [onStorage, onVault, onRegistry, onInsights]
}

// Each cluster has its own identity, so that jobs need no keys. Values that azureml.yml leaves out have
// the plugin's defaults.
resource cluster 'Microsoft.MachineLearningServices/workspaces/computes@2025-06-01' = [for one in clusters: {
  parent: workspace
  name: one.key
  location: location
  identity: { type: 'SystemAssigned' }
  properties: {
    computeType: 'AmlCompute'
    properties: {
      vmSize: one.value.size
      vmPriority: (one.value.?tier ?? 'dedicated') == 'dedicated' ? 'Dedicated' : 'LowPriority'
      scaleSettings: {
        minNodeCount: one.value.?min_instances ?? 0
        maxNodeCount: one.value.?max_instances ?? 4
        nodeIdleTimeBeforeScaleDown: 'PT${one.value.?idle_seconds ?? 300}S'
      }
      enableNodePublicIp: !isPrivate
      remoteLoginPortPublicAccess: 'Disabled'
    }
  }
}]

module ofClusters 'roles.bicep' = [for (one, number) in clusters: {
  name: 'roles-of-${one.key}'
  params: {
    principalId: cluster[number].identity.principalId
    workspaceName: workspace.name
    storageAccountName: storage.name
    containerRegistryName: registry.name
  }
}]

module ofCI 'roles.bicep' = if (!empty(ciPrincipalId)) {
  name: 'roles-of-ci'
  params: {
    principalId: ciPrincipalId
    workspaceName: workspace.name
    storageAccountName: storage.name
    containerRegistryName: registry.name
  }
}

// Private endpoints in one subnet. Their DNS names are left to the network's own policy, since most
// networks have one.
var ways = empty(privateEndpointSubnetId) ? [] : [
  { name: 'pe-${names.name}', target: workspace.id, group: 'amlworkspace' }
  { name: 'pe-${names.storage_account}-blob', target: storage.id, group: 'blob' }
  { name: 'pe-${names.storage_account}-file', target: storage.id, group: 'file' }
  { name: 'pe-${names.key_vault}', target: vault.id, group: 'vault' }
  { name: 'pe-${names.container_registry}', target: registry.id, group: 'registry' }
]

resource endpoint 'Microsoft.Network/privateEndpoints@2024-05-01' = [for way in ways: {
  name: way.name
  location: location
  properties: {
    subnet: { id: privateEndpointSubnetId }
    privateLinkServiceConnections: [
      {
        name: way.name
        properties: { privateLinkServiceId: way.target, groupIds: [way.group] }
      }
    ]
  }
}]

// Alerts by e-mail. Monitor jobs fail on an alarm. The latency limit is in milliseconds.
resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(alertEmail)) {
  name: 'ag-${names.name}'
  location: 'global'
  properties: { groupShortName: 'mlops', enabled: true, emailReceivers: [{ name: 'mlops', emailAddress: alertEmail, useCommonAlertSchema: true }] }
}

var endpointId = '${workspace.id}/onlineEndpoints/${alertEndpoint}'
var jobFailed = { name: 'job-failed', scope: workspace.id, metric: 'Failed Runs', of: 'Total', above: 0, by: 'ExperimentName', values: ['*'] }
var endpointRules = [
  { name: 'endpoint-errors', scope: endpointId, metric: 'RequestsPerMinute', of: 'Average', above: 0, by: 'statusCodeClass', values: ['5xx'] }
  { name: 'model-errors', scope: endpointId, metric: 'RequestsPerMinute', of: 'Average', above: 0, by: 'modelStatusCode', values: ['500', '502', '503', '504'] }
  { name: 'latency', scope: endpointId, metric: 'RequestLatency_P95', of: 'Average', above: 1000, by: 'deployment', values: ['*'] }
]
var rules = empty(alertEmail) ? [] : concat([jobFailed], empty(alertEndpoint) ? [] : endpointRules)

resource alert 'Microsoft.Insights/metricAlerts@2018-03-01' = [for rule in rules: {
  name: '${rule.name}-${names.name}'
  location: 'global'
  properties: {
    severity: 2
    enabled: true
    scopes: [rule.scope]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        { name: rule.name, criterionType: 'StaticThresholdCriterion', metricName: rule.metric, timeAggregation: rule.of, operator: 'GreaterThan', threshold: rule.above, dimensions: [{ name: rule.by, operator: 'Include', values: rule.values }] }
      ]
    }
    actions: [{ actionGroupId: people.id }]
  }
}]

// Application Insights sees each request if `recording` in mlops.yml is enabled.
resource noTraffic 'Microsoft.Insights/scheduledQueryRules@2022-06-15' = if (!empty(alertEmail) && !empty(alertEndpoint)) {
  name: 'no-traffic-${names.name}'
  location: location
  properties: {
    severity: 2
    scopes: [insights.id]
    evaluationFrequency: 'PT1H'
    windowSize: 'PT1H'
    criteria: { allOf: [{ query: 'requests', timeAggregation: 'Count', operator: 'LessThan', threshold: 1 }] }
    actions: { actionGroups: [people.id] }
  }
}
