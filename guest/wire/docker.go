package wire

// The agent is the program that keeps a Docker daemon in the guest (package guest/docker). It is a command like others, whose first argument
// says what it is for. With AgentKeep it keeps dockerd, and the other argument is a DockerSpec as JSON. It prints DockerReports on its standard output, each a line of JSON, and dockerd's log on its standard error. SIGTERM makes
// it stop dockerd and end with 0.

// What the agent is for, besides.
const (
	AgentKeep = "keep"
	// AgentCompose FILE ARGUMENT... becomes docker compose up, and AgentComposeReady FILE ends with 0 when all services of the file are healthy.
	AgentCompose      = "compose"
	AgentComposeReady = "compose-ready"
)

// A DockerSpec is what the agent is to do.
type DockerSpec struct {
	// Config is daemon.json.
	Config string `json:"config"`
	// DataRoot is the folder with dockerd's data.
	DataRoot string `json:"data_root"`
	// Args are further arguments of dockerd's.
	Args []string `json:"args"`
	// StopSeconds is how long containers have to end by themselves when all is stopped.
	StopSeconds int `json:"stop_seconds"`
	// Images are the files to load.
	Images []DockerImage `json:"images"`
	// Modules says that the kernel has modules, so that what it can do is not to be taken for granted.
	Modules bool `json:"modules"`
	// Forward is how connections come from the host; nil: there are none.
	Forward *DockerForward `json:"forward"`
}

// A DockerImage is a file with images: its path in the guest, and its name for messages, which is the host's.
type DockerImage struct {
	File string `json:"file"`
	Name string `json:"name"`
}

// A DockerForward is a network of two that leads from the host to dockerd's socket.
type DockerForward struct {
	// Device is the NIC's name as the kernel has named it: "vec0".
	Device string `json:"device"`
	// Address is the guest's, "169.254.77.2/30", and Port where the agent listens.
	Address string `json:"address"`
	Port    int    `json:"port"`
	// Host is the host's address, and HostMAC where it is found.
	Host    string `json:"host"`
	HostMAC string `json:"host_mac"`
	MTU     int    `json:"mtu"`
}

// MaxDockerReport is the greatest length of a line with a DockerReport, in bytes.
const MaxDockerReport = 64 << 10

// A DockerReport is something that has happened to dockerd.
type DockerReport struct {
	Kind string `json:"kind"` // one of the Docker constants
	// Version is dockerd's.
	Version string `json:"version,omitempty"`
	// Images are names.
	Images []string `json:"images,omitempty"`
	// Text and Hint say what went wrong, and what to do about it.
	Text string `json:"text,omitempty"`
	Hint string `json:"hint,omitempty"`
}

// The kinds of DockerReports.
const (
	// DockerAnswers: the API does. Version is set.
	DockerAnswers = "answers"
	// DockerReady: all that the DockerSpec asks for is done. Images is set.
	DockerReady = "ready"
	// DockerFailed: it can't be done. The agent ends. Text and Hint are set.
	DockerFailed = "failed"
	// DockerEnded: dockerd has ended by itself after it was ready. The agent ends. Text is set.
	DockerEnded = "ended"
	// DockerNotice: Text is something that went wrong without ending anything.
	DockerNotice = "notice"
)
