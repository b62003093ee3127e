//! Interfaces of DCE/RPC: their identifiers (C706 appendix A) and the names of those that are met.

use compact_str::CompactString;
use compact_str::ToCompactString;

/// The endpoint mapper's interface (C706 appendix O).
pub const ENDPOINT_MAPPER: u128 = 0xe1af8308_5d1f_11c9_91a4_08002b14a0fa;

/// An interface identifier as its bytes would print: the first three fields in big-endian order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// From the wire, in the byte order of the PDU's data representation.
    pub fn read(bytes: &[u8; 16], little: bool) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = *bytes;
        let [i, j, k, l, m, n, o, p] = rest;
        match little {
            true => Self([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]),
            false => Self(*bytes),
        }
    }

    /// As a number, for comparison with constants.
    pub fn number(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// Whether the variant bits are those of DCE or Microsoft (C706 appendix A.1).
    pub fn is_dce(self) -> bool {
        self.0[8] & 0x80 != 0
    }
}

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Interfaces worth a name: the endpoint mapper (C706 appendix O), DCOM and WMI (MS-DCOM, MS-WMI), and common Windows services.
pub fn interface_name(uuid: Uuid) -> CompactString {
    match uuid.number() {
        ENDPOINT_MAPPER => "epmapper",
        0x99fcfec4_5260_101b_bbcb_00aa0021347a => "IOXIDResolver",
        0x000001a0_0000_0000_c000_000000000046 => "ISystemActivator",
        0x4d9f4ab8_7d1c_11cf_861e_0020af6e7c57 => "IActivation",
        0x00000131_0000_0000_c000_000000000046 => "IRemUnknown",
        0x00000143_0000_0000_c000_000000000046 => "IRemUnknown2",
        0xf309ad18_d86a_11d0_a075_00c04fb68820 => "IWbemLevel1Login",
        0x9556dc99_828c_11cf_a37e_00aa003240c7 => "IWbemServices",
        0x027947e1_d731_11ce_a357_000000000001 => "IEnumWbemClassObject",
        0xd4781cd6_e5d3_44df_ad94_930efe48a887 => "IWbemLoginClientID",
        0x12345678_1234_abcd_ef00_01234567cffb => "netlogon",
        0x12345778_1234_abcd_ef00_0123456789ab => "lsarpc",
        0x12345778_1234_abcd_ef00_0123456789ac => "samr",
        0x12345678_1234_abcd_ef00_0123456789ab => "spoolss",
        0x367abb81_9844_35f1_ad32_98f038001003 => "svcctl",
        0x4b324fc8_1670_01d3_1278_5a47bf6ee188 => "srvsvc",
        0x6bffd098_a112_3610_9833_46c3f87e345a => "wkssvc",
        0x338cd001_2244_31f1_aaaa_900038001003 => "winreg",
        0x86d35949_83c9_4044_b424_db363231fd0c => "ITaskSchedulerService",
        0x1ff70682_0a51_30e8_076d_740be8cee98b => "atsvc",
        0xe3514235_4b06_11d1_ab04_00c04fc2dcd2 => "drsuapi",
        0x82273fdc_e32a_18c3_3f78_827929dc23ea => "eventlog",
        0xf6beaff7_1e19_4fbb_9f8f_b89e2018337c => "eventlog6",
        0xafa8bd80_7d8a_11c9_bef4_08002b102989 => "mgmt",
        0xc681d488_d850_11d0_8c52_00c04fd90f7e => "efsrpc",
        0x6b5bdd1e_528c_422c_af8c_a4079be4fe48 => "fasp",
        _ => return uuid.to_compact_string(),
    }
    .into()
}
