package kube

import (
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The Altinity operator's two kinds, as far as the manifests use them; the
// operator's own Go module is not to be had from the module proxy. Written after
// its documentation of version 0.25.

type clickhouseInstallation struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Configuration struct {
			Zookeeper struct {
				Nodes []struct {
					Host string `json:"host"`
					Port int    `json:"port"`
				} `json:"nodes"`
			} `json:"zookeeper"`
			Clusters []altinityCluster `json:"clusters"`
			Users    map[string]any    `json:"users"`
			Profiles map[string]string `json:"profiles"`
			Settings map[string]any    `json:"settings"`
			Files    map[string]any    `json:"files"`
		} `json:"configuration"`
		Defaults  altinityDefaults  `json:"defaults"`
		Templates altinityTemplates `json:"templates"`
	} `json:"spec"`
}

type keeperInstallation struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Configuration struct {
			Clusters []altinityCluster `json:"clusters"`
			Settings map[string]string `json:"settings"`
		} `json:"configuration"`
		Defaults  altinityDefaults  `json:"defaults"`
		Templates altinityTemplates `json:"templates"`
	} `json:"spec"`
}

type altinityCluster struct {
	Name   string `json:"name"`
	Secure string `json:"secure"`
	Secret struct {
		Auto string `json:"auto"`
	} `json:"secret"`
	Layout struct {
		ShardsCount   int `json:"shardsCount"`
		ReplicasCount int `json:"replicasCount"`
	} `json:"layout"`
}

type altinityDefaults struct {
	ReplicasUseFQDN string `json:"replicasUseFQDN"`
	Templates       struct {
		PodTemplate             string `json:"podTemplate"`
		DataVolumeClaimTemplate string `json:"dataVolumeClaimTemplate"`
		ServiceTemplate         string `json:"serviceTemplate"`
		ShardServiceTemplate    string `json:"shardServiceTemplate"`
	} `json:"templates"`
}

type altinityTemplates struct {
	PodTemplates []struct {
		Name string       `json:"name"`
		Spec core.PodSpec `json:"spec"`
	} `json:"podTemplates"`
	VolumeClaimTemplates []struct {
		Name          string                         `json:"name"`
		ReclaimPolicy string                         `json:"reclaimPolicy"`
		Spec          core.PersistentVolumeClaimSpec `json:"spec"`
	} `json:"volumeClaimTemplates"`
	ServiceTemplates []struct {
		Name         string           `json:"name"`
		GenerateName string           `json:"generateName"`
		Metadata     meta.ObjectMeta  `json:"metadata"`
		Spec         core.ServiceSpec `json:"spec"`
	} `json:"serviceTemplates"`
}

// names is every template that there is, by kind.
func (t *altinityTemplates) names() (pods, claims, services map[string]bool) {
	pods, claims, services = make(map[string]bool), make(map[string]bool), make(map[string]bool)
	for _, p := range t.PodTemplates {
		pods[p.Name] = true
	}
	for _, c := range t.VolumeClaimTemplates {
		claims[c.Name] = true
	}
	for _, s := range t.ServiceTemplates {
		services[s.Name] = true
	}
	return pods, claims, services
}
