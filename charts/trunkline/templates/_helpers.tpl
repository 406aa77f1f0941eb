{{/* Name of the chart, in labels. */}}
{{- define "trunkline.name" -}}
{{- default "trunkline-operator" .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
Name of every object: trunkline-operator for a release called trunkline. Shorter than a Service's
63, since some have a suffix.
*/}}
{{- define "trunkline.fullname" -}}
{{- $name := include "trunkline.name" . }}
{{- if .Values.fullnameOverride }}
{{- $name = .Values.fullnameOverride }}
{{- else if contains $name .Release.Name }}
{{- $name = .Release.Name }}
{{- else if ne .Release.Name "trunkline" }}
{{- $name = printf "%s-%s" .Release.Name $name }}
{{- end }}
{{- $name | trunc 54 | trimSuffix "-" }}
{{- end }}

{{/* The labels that select the operator's pods; they can never change. */}}
{{- define "trunkline.selectorLabels" -}}
app.kubernetes.io/name: {{ include "trunkline.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The labels of every object; the chart's own beat commonLabels. */}}
{{- define "trunkline.labels" -}}
{{- $labels := include "trunkline.selectorLabels" . | fromYaml }}
{{- $_ := set $labels "app.kubernetes.io/component" "operator" }}
{{- $_ := set $labels "app.kubernetes.io/part-of" "trunkline" }}
{{- $_ := set $labels "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .Release.Service }}
{{- $chart := printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- $_ := set $labels "helm.sh/chart" ($chart | trunc 63 | trimSuffix "-") }}
{{- merge $labels .Values.commonLabels | toYaml }}
{{- end }}

{{- define "trunkline.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "trunkline.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is empty; name the account that exists, or leave serviceAccount.create true" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* An image of a repository, a digest or a tag: a list of the image and the chart. */}}
{{- define "trunkline.image" -}}
{{- $image := index . 0 }}
{{- $chart := index . 1 }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default $chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{/*
What the operator may do in a namespace: in all of them by a ClusterRole, or in each of
watchNamespaces by a Role. A test compares this list with the requests that the operator makes.
*/}}
{{- define "trunkline.rules" -}}
- apiGroups: [trunkline.dev]
  resources: [webhookclusters]
  verbs: [list, watch]
# Patched for its finalizer alone.
- apiGroups: [trunkline.dev]
  resources: [webhooksources]
  verbs: [list, watch, patch]
- apiGroups: [trunkline.dev]
  resources: [webhookclusters/status, webhooksources/status]
  verbs: [patch]
# Reads what manifests refer to; writes the configuration of ingesters.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [list, watch, create, patch, delete]
# Which pods take requests, and what they serve.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
# An annotation, so that the kubelet refreshes the mounted configuration at once. Through the status
# nothing else of a pod can be changed.
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/*
Annotations of the rights that `helm test` needs, with their weight: they are there while the test
runs, and gone when it has succeeded.
*/}}
{{- define "trunkline.testRights" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
