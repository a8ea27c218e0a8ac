package main

import (
	"crypto/rand"
	"net"
	"strings"
	"time"

	"github.com/sekexe/sekexe/config"
	"github.com/sekexe/sekexe/orchestrator"
)

// networks makes the network of --net, if there is one, and gives the job its NIC and published ports.
func (f *runFlags) networks(job *orchestrator.Job) ([]orchestrator.Network, error) {
	publish, err := parsePublish(f.publish)
	if err != nil {
		return nil, err
	}
	if f.net == "none" {
		if len(publish) > 0 {
			return nil, misuse("--publish %s: there is no network to publish a port of: leave --net none out", f.publish[0])
		}
		return nil, nil
	}
	n := orchestrator.Network{Name: "default", Mode: "user", Uplink: "user", DHCP: orchestrator.DHCP{Enabled: true, Lease: time.Hour}, Implicit: true}
	nic := orchestrator.NIC{Name: "eth0", MAC: net.HardwareAddr{0x02, 0x53, 0x4b, 0x58, 0, 1}, Default: true, Names: []string{job.Hostname}}
	switch bridge, ok := strings.CutPrefix(f.net, "bridge:"); {
	case f.net == "user":
	case ok && bridge != "":
		n.Mode, n.Scope, n.Bridge, n.Uplink, n.DHCP.Enabled = "bridge", "host", bridge, "none", false
		nic.DHCP = true
		// Others are on that bridge, and other runs may be.
		if _, err := rand.Read(nic.MAC[1:]); err != nil {
			return nil, failure(err)
		}
	default:
		return nil, misuse("--net %s: want user, none or bridge:NAME", f.net)
	}
	job.NICs = []orchestrator.NIC{nic}
	job.Publish = publish
	return []orchestrator.Network{n}, nil
}

// parsePublish reads --publish.
func parsePublish(flags []string) ([]orchestrator.Publish, error) {
	var all []orchestrator.Publish
	for _, p := range flags {
		pub, err := config.ParsePublish(p)
		if err != nil {
			return nil, misuse("--publish %s: %w", p, err)
		}
		all = append(all, pub)
	}
	return all, nil
}
