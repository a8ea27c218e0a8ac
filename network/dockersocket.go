package network

import (
	"github.com/sekexe/sekexe/network/forward"
	"github.com/sekexe/sekexe/orchestrator"
)

// Forward listens on a socket of the host, at an absolute path, that leads to a sub-kernel's Docker daemon. It needs no Networks. Notice, if not
// nil, is told of trouble that ends nothing. Errors may have advice: a method Hint() string.
func Forward(path string, notice func(text string)) (*orchestrator.Forward, error) {
	f, err := forward.Open(path, notice)
	if err != nil {
		return nil, err
	}
	return &orchestrator.Forward{
		Socket: path, File: f.File(), MTU: forward.MTU, Guest: forward.GuestAddr, Host: forward.HostAddr, MAC: forward.GuestMAC, HostMAC: forward.HostMAC,
		Port: forward.Port, Ready: f.Ready, Close: f.Close,
	}, nil
}
