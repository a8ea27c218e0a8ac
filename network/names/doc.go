// Package names is the DNS server at a network's gateway. It answers for the names of one network out of a Zone, and asks the host's
// resolvers for all others. It knows neither sub-kernels nor how packets reach it: it is given sockets.
//
// Who asks is untrusted: a query is bounded in size, what is under way is bounded in number, in all and for each client, and what is
// beyond that is refused at once.
package names
