{{- define "usage-ledger.name" -}}
{{- if contains "usage-ledger" .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-usage-ledger" (.Release.Name | trunc 37 | trimSuffix "-") }}{{- end -}}
{{- end }}

{{- define "usage-ledger.selector" -}}
app.kubernetes.io/name: usage-ledger
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "usage-ledger.labels" -}}
{{ include "usage-ledger.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "usage-ledger.image" -}}
{{- $repository := required "image.repository: where the image is" .Values.image.repository -}}
{{- if .Values.image.digest -}}{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{- end -}}
{{- end }}

{{/* The secrets that a part needs: what each is for the program, and where it comes from. */}}
{{- define "usage-ledger.secrets" -}}
{{- $all := .root.Values.secrets -}}
{{- $secrets := dict -}}
{{- $uri := get $all (printf "%sMongodbUri" .part) -}}
{{- if not $uri }}{{ fail (printf "secrets.%sMongodbUri: where MongoDB is" .part) }}{{ end -}}
{{- $_ := set $secrets "MONGODB_URI" $uri -}}
{{- if and (ne .part "reader") (eq .root.Values.source "kafka") .root.Values.kafka.properties -}}
{{- $_ := set $secrets "KAFKA_PROPERTIES" .root.Values.kafka.properties -}}
{{- end -}}
{{- if eq .part "reader" -}}
{{- $keys := 0 -}}
{{- range $name, $value := dict "JWT_SECRET" $all.jwtSecret "JWT_JWKS_URL" $all.jwtJwksUrl -}}
{{- if $value }}{{ $keys = add1 $keys }}{{ $_ := set $secrets $name $value }}{{ end -}}
{{- end -}}
{{- if .root.Values.jwtPublicKey }}{{ $keys = add1 $keys }}{{ end -}}
{{- if ne (int $keys) 1 }}{{ fail "one of secrets.jwtSecret, secrets.jwtJwksUrl and jwtPublicKey: who may read" }}{{ end -}}
{{- end -}}
{{- toYaml $secrets -}}
{{- end }}

{{/* Settings as variables. */}}
{{- define "usage-ledger.env" -}}
{{- $values := .root.Values -}}
- {name: USAGE_LEDGER_SOURCE, value: {{ $values.source | quote }}}
{{- if eq $values.source "kafka" }}
- {name: USAGE_LEDGER_KAFKA_BROKERS, value: {{ required "kafka.brokers: the bootstrap servers" $values.kafka.brokers | quote }}}
- {name: USAGE_LEDGER_KAFKA_TOPIC, value: {{ $values.kafka.topic | quote }}}
- {name: USAGE_LEDGER_KAFKA_GROUP, value: {{ $values.kafka.group | quote }}}
{{- end }}
{{- range $name, $value := $values.config }}
- {name: USAGE_LEDGER_{{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- if and (eq .part "reader") $values.jwtPublicKey }}
- {name: USAGE_LEDGER_JWT_PUBLIC_KEY, value: {{ $values.jwtPublicKey | quote }}}
{{- end }}
{{- if and (eq .part "reader") $values.reader.tls }}
{{- $tls := $values.reader.tls }}
- {name: USAGE_LEDGER_API_TLS_CERT, value: {{ $tls.certFile | default "/run/secrets/tls/tls.crt" | quote }}}
- {name: USAGE_LEDGER_API_TLS_KEY, value: {{ $tls.keyFile | default "/run/secrets/tls/tls.key" | quote }}}
{{- end }}
{{- range $name, $secret := include "usage-ledger.secrets" . | fromYaml }}
- name: USAGE_LEDGER_{{ $name }}_FILE
  value: {{ $secret.file | default (printf "/run/secrets/usage-ledger/%s" $name) | quote }}
{{- end }}
{{- end }}

{{/* Secrets of Kubernetes, as files. */}}
{{- define "usage-ledger.volumes" -}}
{{- $sources := list -}}
{{- range $name, $secret := include "usage-ledger.secrets" . | fromYaml -}}
{{- if $secret.name -}}
{{- $item := dict "key" $secret.key "path" $name -}}
{{- $sources = append $sources (dict "secret" (dict "name" $secret.name "items" (list $item))) -}}
{{- end -}}
{{- end -}}
{{- if $sources }}
- name: secrets
  projected:
    defaultMode: 0444
    sources: {{- toYaml $sources | nindent 6 }}
{{- end }}
{{- if and (eq .part "reader") .root.Values.reader.tls.secretName }}
- name: tls
  secret: {secretName: {{ .root.Values.reader.tls.secretName | quote }}, defaultMode: 0444}
{{- end }}
{{- end }}

{{/* Whole folders: of a single file Kubernetes would never show another one. */}}
{{- define "usage-ledger.mounts" -}}
{{- range include "usage-ledger.volumes" . | fromYamlArray }}
- {name: {{ .name }}, mountPath: /run/secrets/{{ ternary "usage-ledger" .name (eq .name "secrets") }}, readOnly: true}
{{- end }}
{{- end }}

{{/* What the pods of all parts have in common. */}}
{{- define "usage-ledger.pod" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
# Nothing here talks to Kubernetes. And Kubernetes is not to set variables that look like settings: those of a service
# called usage-ledger would.
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "usage-ledger.container" -}}
image: {{ include "usage-ledger.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "usage-ledger.probes" -}}
# Its ports are served once MongoDB has answered. Liveness asks whether it is alive only: a process that waits for MongoDB
# is not helped by being started again.
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
{{- end }}
