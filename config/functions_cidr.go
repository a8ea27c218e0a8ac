package config

import (
	"fmt"
	"math/big"
	"net"

	"github.com/apparentlymart/go-cidr/cidr"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// prefixParam is the first argument of all functions here: a network such as "10.77.0.0/24".
var prefixParam = function.Parameter{Name: "prefix", Type: cty.String}

// parsePrefix parses the first argument.
func parsePrefix(v cty.Value) (*net.IPNet, error) {
	_, network, err := net.ParseCIDR(v.AsString())
	if err != nil {
		return nil, function.NewArgErrorf(0, "%q is not a network; write one such as \"10.77.0.0/24\"", v.AsString())
	}
	return network, nil
}

// wholeArg returns argument i as a whole number.
func wholeArg(args []cty.Value, i int) (*big.Int, error) {
	n, acc := args[i].AsBigFloat().Int(nil)
	if n == nil || acc != big.Exact {
		return nil, function.NewArgErrorf(i, "must be a whole number")
	}
	return n, nil
}

// cidrHostFunc is the address of host number N in a network; negative numbers count from the end.
var cidrHostFunc = function.New(&function.Spec{
	Params: []function.Parameter{prefixParam, {Name: "host", Type: cty.Number}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		network, err := parsePrefix(args[0])
		if err != nil {
			return cty.NilVal, err
		}
		n, err := wholeArg(args, 1)
		if err != nil {
			return cty.NilVal, err
		}
		ip, err := cidr.HostBig(network, n)
		if err != nil {
			return cty.NilVal, function.NewArgError(1, err)
		}
		return cty.StringVal(ip.String()), nil
	},
})

var cidrNetmaskFunc = function.New(&function.Spec{
	Params: []function.Parameter{prefixParam},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		network, err := parsePrefix(args[0])
		if err != nil {
			return cty.NilVal, err
		}
		if network.IP.To4() == nil {
			return cty.NilVal, function.NewArgErrorf(0, "IPv6 networks have no netmask")
		}
		return cty.StringVal(net.IP(network.Mask).String()), nil
	},
})

// cidrSubnetFunc is subnet number N of those with newbits more bits of prefix.
var cidrSubnetFunc = function.New(&function.Spec{
	Params: []function.Parameter{prefixParam, {Name: "newbits", Type: cty.Number}, {Name: "netnum", Type: cty.Number}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		network, err := parsePrefix(args[0])
		if err != nil {
			return cty.NilVal, err
		}
		bits, err := newBits(args, 1)
		if err != nil {
			return cty.NilVal, err
		}
		n, err := wholeArg(args, 2)
		if err != nil {
			return cty.NilVal, err
		}
		if n.Sign() < 0 {
			return cty.NilVal, function.NewArgErrorf(2, "must not be negative")
		}
		sub, err := cidr.SubnetBig(network, bits, n)
		if err != nil {
			return cty.NilVal, function.NewArgError(2, err)
		}
		return cty.StringVal(sub.String()), nil
	},
})

// newBits returns argument i as a number of bits.
func newBits(args []cty.Value, i int) (int, error) {
	n, err := wholeArg(args, i)
	if err != nil {
		return 0, err
	}
	if !n.IsInt64() || n.Int64() < 0 || n.Int64() > 128 {
		return 0, function.NewArgErrorf(i, "must be from 0 to 128")
	}
	return int(n.Int64()), nil
}

// cidrSubnetsFunc is a list of subnets that follow each other, each with newbits more bits of prefix.
var cidrSubnetsFunc = function.New(&function.Spec{
	Params:   []function.Parameter{prefixParam},
	VarParam: &function.Parameter{Name: "newbits", Type: cty.Number},
	Type:     function.StaticReturnType(cty.List(cty.String)),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		network, err := parsePrefix(args[0])
		if err != nil {
			return cty.NilVal, err
		}
		start, width := network.Mask.Size()
		var out []cty.Value
		var current *net.IPNet
		for i := 1; i < len(args); i++ {
			bits, err := newBits(args, i)
			if err != nil {
				return cty.NilVal, err
			}
			length := start + bits
			if length > width {
				return cty.NilVal, function.NewArgErrorf(i, "the prefix would have %d of %d bits", length, width)
			}
			if current, err = nextSubnet(network, current, length); err != nil {
				return cty.NilVal, function.NewArgError(i, err)
			}
			out = append(out, cty.StringVal(current.String()))
		}
		if len(out) == 0 {
			return cty.ListValEmpty(cty.String), nil
		}
		return cty.ListVal(out), nil
	},
})

// nextSubnet returns the subnet of the given prefix length in network that follows current; the first if current is nil.
func nextSubnet(network, current *net.IPNet, length int) (*net.IPNet, error) {
	_, width := network.Mask.Size()
	if current == nil {
		return &net.IPNet{IP: network.IP, Mask: net.CIDRMask(length, width)}, nil
	}
	next, overflow := cidr.NextSubnet(current, length)
	if overflow || !network.Contains(next.IP) {
		return nil, fmt.Errorf("%s has no room for a subnet of %d bits after %s", network, length, current)
	}
	return next, nil
}
