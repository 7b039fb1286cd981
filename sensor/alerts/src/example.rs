//! Messages as the documents of the products describe them, with addresses of documentation.

/// A message, and what is read of it.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    pub message: &'static str,
    pub product: &'static str,
    pub what: &'static str,
    pub weight: Option<u8>,
    pub is_blocked: bool,
}

/// One of each format at least; all blame 198.51.100.7.
pub const EXAMPLES: &[Example] = &[
    one(
        "<13>Aug 21 09:24:00 brain vectra_cef -: CEF:0|Vectra Networks|X Series|7.8|port_scan|Port Scan|6|externalId=3 \
         cat=RECONNAISSANCE dvc=192.0.2.9 src=198.51.100.7 flexNumber1Label=threat flexNumber1=60 \
         flexNumber2Label=certainty flexNumber2=80 cs4Label=Vectra Event URL cs4=https://192.0.2.9/d/3?a\\=1 \
         dst=192.0.2.1 proto=tcp dpt=22",
        "Vectra Networks X Series",
        "Port Scan, RECONNAISSANCE, port_scan",
        Some(60),
        false,
    ),
    one(
        "CEF:0|Darktrace|DCIP|6.1|100|Model Breach|9|src=198.51.100.7 dst=192.0.2.1 cs1=Device / Port Scan \
         cs1Label=Model cn1=87 cn1Label=Score act=alert",
        "Darktrace DCIP",
        "Model Breach, Device / Port Scan, 100",
        Some(87),
        false,
    ),
    one(
        "<165>1 2026-11-30T12:00:00Z dt darktrace - - - {\"model\":{\"name\":\"Device::Attack and Recon Tools\"},\
         \"device\":{\"did\":7,\"ip\":\"198.51.100.7\"},\"pbid\":6,\"score\":0.871,\"time\":1657748808000}",
        "Darktrace",
        "Device::Attack and Recon Tools",
        Some(87),
        false,
    ),
    one(
        "vectra_json_v2 -: {\"category\": \"RECONNAISSANCE\", \"severity\": \"6.0\", \"threat\": 60, \"certainty\": 80, \
         \"d_type_vname\": \"Port Scan\", \"dd_dst_ip\": \"192.0.2.1\", \"host_ip\": \"198.51.100.7\"}",
        "Vectra",
        "RECONNAISSANCE, Port Scan",
        Some(60),
        false,
    ),
    one(
        "{\"event_type\":\"alert\",\"src_ip\":\"198.51.100.7\",\"dest_ip\":\"192.0.2.1\",\
         \"alert\":{\"action\":\"blocked\",\"signature\":\"ET SCAN\",\"severity\":2}}",
        "Suricata",
        "ET SCAN",
        Some(70),
        true,
    ),
    one(
        "<4>Nov 30 12:00:00 gate kernel: [ 12.5] DROP-IN: IN=eth0 OUT= MAC=00:11 SRC=198.51.100.7 DST=192.0.2.1 LEN=40 \
         TTL=52 ID=1 PROTO=TCP SPT=40000 DPT=22 WINDOW=1024 RES=0x00 SYN URGP=0",
        "netfilter",
        "DROP-IN",
        None,
        true,
    ),
    one(
        "<134>Nov 30 12:00:00 filterlog[6]: 5,,,1000000103,igb1,match,block,in,4,0x0,,64,1,0,DF,6,tcp,60,198.51.100.7,\
         192.0.2.1,40000,22,0,S,1,,64240,,mss",
        "pf",
        "block in on igb1, rule 5",
        None,
        true,
    ),
    one(
        "<166>Nov 30 2026 12:00:00: %ASA-4-106023: Deny tcp src outside:198.51.100.7/40000 dst inside:192.0.2.1/22 by \
         access-group \"outside_in\" [0x0, 0x0]",
        "Cisco ASA",
        "106023 Deny tcp",
        Some(50),
        true,
    ),
    one(
        "%FTD-2-106001: Inbound TCP connection denied from 198.51.100.7/40000 to 192.0.2.1/22 flags SYN on interface out",
        "Cisco FTD",
        "106001 Inbound TCP connection denied",
        Some(90),
        true,
    ),
    one(
        "%ASA-6-106100: access-list acl denied tcp outside/198.51.100.7(40000) -> inside/192.0.2.1(22) hit-cnt 1",
        "Cisco ASA",
        "106100 access-list acl denied tcp outside/198.51.100.7(40000) -> inside/192.0.2.1(22) hit-cnt 1",
        Some(10),
        true,
    ),
    one(
        "<189>date=2026-11-30 time=12:00:00 devname=\"fw\" devid=\"FG1\" logid=\"0000000013\" type=\"traffic\" \
         subtype=\"forward\" srcip=198.51.100.7 dstip=192.0.2.1 action=\"deny\"",
        "FortiGate",
        "deny forward",
        None,
        true,
    ),
    one(
        "<185>date=2026-11-30 devname=fw devid=FG1 logid=0419016384 type=\"utm\" subtype=\"ips\" severity=\"high\" \
         srcip=198.51.100.7 dstip=192.0.2.1 action=\"dropped\" attack=\"SSH.Brute.Force\"",
        "FortiGate",
        "dropped SSH.Brute.Force",
        Some(70),
        true,
    ),
    one(
        "<14>Nov 30 12:00:00 pa 1,2026/11/30 12:00:00,001,THREAT,vulnerability,2049,2026/11/30 12:00:00,198.51.100.7,\
         192.0.2.1,0.0.0.0,0.0.0.0,in,,,ssh,vsys1,out,in,e1,e2,log,,1,1,40000,22,0,0,0x0,tcp,reset-both,\"a,b\",\
         SSH Brute Force(40015),any,high,client-to-server",
        "PAN-OS",
        "vulnerability SSH Brute Force(40015)",
        Some(70),
        true,
    ),
];

const fn one(
    message: &'static str,
    product: &'static str,
    what: &'static str,
    weight: Option<u8>,
    is_blocked: bool,
) -> Example {
    Example {
        message,
        product,
        what,
        weight,
        is_blocked,
    }
}
