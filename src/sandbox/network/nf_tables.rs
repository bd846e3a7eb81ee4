//! Builds messages of nf_tables from the kernel's numbers.
//!
//! * In: names of tables, sets and chains, and the expressions of rules.
//! * Out: one batch, of which the kernel applies all messages or none.
//! * Never: a number without the name that the kernel's headers give it.
//!
//! The names in comments are those of linux/netfilter/nf_tables.h unless another header is named;
//! all of them are part of the kernel's interface and do not change.

use std::io;

use crate::netlink::{Attributes, Message, Socket, attribute, attributes, flag};

/// Families (linux/netfilter.h, `NFPROTO_…`).
pub(super) mod family {
    pub(in super::super) const INET: u8 = 1;
    pub(in super::super) const IPV4: u8 = 2;
    pub(in super::super) const IPV6: u8 = 10;
}

/// The hooks of the kernel at which a chain can be (linux/netfilter.h, `enum nf_inet_hooks`).
#[derive(Clone, Copy)]
pub(super) enum Hook {
    /// `NF_INET_PRE_ROUTING`.
    Arriving = 0,
    /// `NF_INET_LOCAL_IN`.
    Input = 1,
    /// `NF_INET_FORWARD`.
    Forward = 2,
    /// `NF_INET_POST_ROUTING`.
    Leaving = 4,
}

/// The type of a chain.
#[derive(Clone, Copy)]
pub(super) enum ChainKind {
    /// The chain lets packets through, or drops them.
    Filter,
    /// The chain changes addresses.
    Nat,
}

impl ChainKind {
    fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

/// The owner of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The table has no owner: it remains until a process removes it.
    Nobody,
    /// The socket owns the table: nothing else can change it, and it ends with the socket.
    Socket,
}

/// The two registers of 16 bytes in which expressions pass values (`NFT_REG_1`, `NFT_REG_2`).
#[derive(Clone, Copy)]
pub(super) enum Register {
    First = 1,
    Second = 2,
}

/// `NFT_REG_VERDICT`.
const VERDICT_REGISTER: u32 = 0;

/// Facts about a packet (`enum nft_meta_keys`).
#[derive(Clone, Copy)]
pub(super) enum Fact {
    /// `NFT_META_MARK`.
    Mark = 3,
    /// `NFT_META_IIFNAME`.
    FromInterface = 6,
    /// `NFT_META_OIFNAME`.
    ToInterface = 7,
    /// `NFT_META_NFPROTO`.
    Family = 15,
    /// `NFT_META_L4PROTO`.
    Protocol = 16,
}

/// Headers of a packet (`enum nft_payload_bases`).
#[derive(Clone, Copy)]
pub(super) enum Header {
    /// `NFT_PAYLOAD_NETWORK_HEADER`.
    Network = 1,
    /// `NFT_PAYLOAD_TRANSPORT_HEADER`.
    Transport = 2,
}

/// Comparisons (`enum nft_cmp_ops`).
#[derive(Clone, Copy)]
pub(super) enum Is {
    /// `NFT_CMP_EQ`.
    Equal = 0,
    /// `NFT_CMP_NEQ`.
    Different = 1,
}

/// The decision of a rule.
#[derive(Clone, Copy)]
pub(super) enum Verdict<'a> {
    /// `NF_DROP` (linux/netfilter.h).
    Drop,
    /// `NF_ACCEPT` (linux/netfilter.h).
    Accept,
    /// `NFT_GOTO`, to this chain.
    GoTo(&'a str),
}

const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const NFT_GOTO: i32 = -4;

/// linux/netfilter/nfnetlink.h: `NFNL_SUBSYS_NFTABLES`, `NFNL_MSG_BATCH_BEGIN` and `…_END`.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// `enum nf_tables_msg_types`.
#[derive(Clone, Copy)]
enum Kind {
    /// `NFT_MSG_NEWTABLE`.
    NewTable = 0,
    /// `NFT_MSG_DELTABLE`.
    DeleteTable = 2,
    /// `NFT_MSG_NEWCHAIN`.
    NewChain = 3,
    /// `NFT_MSG_NEWRULE`.
    NewRule = 6,
    /// `NFT_MSG_NEWSET`.
    NewSet = 9,
    /// `NFT_MSG_GETSETELEM`.
    GetElements = 13,
}

impl Kind {
    fn number(self) -> u16 {
        (SUBSYSTEM << 8) | self as u16
    }
}

/// `enum nft_table_attributes`, and `NFT_TABLE_F_OWNER`.
mod table {
    pub(super) const NAME: u16 = 1;
    pub(super) const FLAGS: u16 = 2;
    pub(super) const IS_OWNED: u32 = 0x2;
}

/// `enum nft_set_attributes`, `enum nft_set_desc_attributes`, and `NFT_SET_EVAL`.
mod set {
    pub(super) const TABLE: u16 = 1;
    pub(super) const NAME: u16 = 2;
    pub(super) const FLAGS: u16 = 3;
    pub(super) const KEY_TYPE: u16 = 4;
    pub(super) const KEY_BYTES: u16 = 5;
    pub(super) const DESCRIPTION: u16 = 9;
    pub(super) const ID: u16 = 10;
    pub(super) const DESCRIPTION_SIZE: u16 = 1;
    pub(super) const IS_FILLED_BY_RULES: u32 = 0x20;
    /// The type of keys, which only programs that print them use.
    pub(super) const NO_TYPE: u32 = 0;
}

/// `enum nft_set_elem_list_attributes`, `enum nft_list_attributes`, `enum nft_set_elem_attributes`.
mod elements {
    pub(super) const TABLE: u16 = 1;
    pub(super) const SET: u16 = 2;
    pub(super) const LIST: u16 = 3;
    pub(super) const ELEMENT: u16 = 1;
    pub(super) const KEY: u16 = 1;
}

/// `enum nft_chain_attributes`, `enum nft_hook_attributes`.
mod chain {
    pub(super) const TABLE: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const HOOK: u16 = 4;
    pub(super) const KIND: u16 = 7;
    pub(super) const HOOK_NUMBER: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
}

/// `enum nft_rule_attributes`, `enum nft_list_attributes`, `enum nft_expr_attributes`.
mod rule {
    pub(super) const TABLE: u16 = 1;
    pub(super) const CHAIN: u16 = 2;
    pub(super) const EXPRESSIONS: u16 = 4;
    pub(super) const EXPRESSION: u16 = 1;
    pub(super) const EXPRESSION_NAME: u16 = 1;
    pub(super) const EXPRESSION_DATA: u16 = 2;
}

/// `enum nft_data_attributes`, `enum nft_verdict_attributes`.
mod data {
    pub(super) const VALUE: u16 = 1;
    pub(super) const VERDICT: u16 = 2;
    pub(super) const VERDICT_CODE: u16 = 1;
    pub(super) const VERDICT_CHAIN: u16 = 2;
}

/// `enum nft_immediate_attributes`.
mod immediate {
    pub(super) const TO: u16 = 1;
    pub(super) const DATA: u16 = 2;
}

/// `enum nft_meta_attributes`.
mod meta {
    pub(super) const TO: u16 = 1;
    pub(super) const KEY: u16 = 2;
    pub(super) const FROM: u16 = 3;
}

/// `enum nft_payload_attributes`.
mod payload {
    pub(super) const TO: u16 = 1;
    pub(super) const BASE: u16 = 2;
    pub(super) const OFFSET: u16 = 3;
    pub(super) const BYTES: u16 = 4;
}

/// `enum nft_cmp_attributes`.
mod cmp {
    pub(super) const FROM: u16 = 1;
    pub(super) const OPERATION: u16 = 2;
    pub(super) const DATA: u16 = 3;
}

/// `enum nft_bitwise_attributes`.
mod bitwise {
    pub(super) const FROM: u16 = 1;
    pub(super) const TO: u16 = 2;
    pub(super) const BYTES: u16 = 3;
    pub(super) const MASK: u16 = 4;
    pub(super) const XOR: u16 = 5;
}

/// `enum nft_ct_attributes`, `NFT_CT_STATE`, and the bits of `IP_CT_ESTABLISHED` and
/// `IP_CT_RELATED` (linux/netfilter/nf_conntrack_common.h, `NF_CT_STATE_BIT`).
mod ct {
    pub(super) const TO: u16 = 1;
    pub(super) const KEY: u16 = 2;
    pub(super) const STATE: u32 = 0;
    pub(super) const IS_ESTABLISHED: u32 = 1 << 1;
    pub(super) const IS_RELATED: u32 = 1 << 2;
}

/// `enum nft_dynset_attributes`, and `NFT_DYNSET_OP_ADD`.
mod dynset {
    pub(super) const SET: u16 = 1;
    pub(super) const SET_ID: u16 = 2;
    pub(super) const OPERATION: u16 = 3;
    pub(super) const KEY: u16 = 4;
    pub(super) const ADD: u32 = 0;
}

/// `enum nft_nat_attributes`, and `NFT_NAT_DNAT`.
mod nat {
    pub(super) const KIND: u16 = 1;
    pub(super) const FAMILY: u16 = 2;
    pub(super) const ADDRESS: u16 = 3;
    pub(super) const PORT: u16 = 5;
    pub(super) const OF_DESTINATION: u32 = 1;
}

/// A set of addresses that rules add to.
#[derive(Clone, Copy)]
pub(super) struct Set {
    pub(super) name: &'static str,
    /// The number by which rules of the same batch refer to it.
    pub(super) id: u32,
    pub(super) key_bytes: u32,
    pub(super) limit: u32,
}

/// Messages about one table, of which the kernel applies all or none.
pub(super) struct Batch<'a> {
    table: &'a str,
    messages: Vec<Message>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(table: &'a str) -> Self {
        Self {
            table,
            messages: vec![bound(BATCH_BEGIN)],
        }
    }

    fn push(&mut self, kind: Kind, flags: u16, attributes: Attributes) {
        self.messages.push(Message::new(
            kind.number(),
            flags,
            &header(family::INET),
            attributes,
        ));
    }

    pub(super) fn table(&mut self, owner: Owner) {
        let flags = match owner {
            Owner::Socket => table::IS_OWNED,
            Owner::Nobody => 0,
        };
        let named = Attributes::default().text(table::NAME, self.table);
        self.push(
            Kind::NewTable,
            flag::CREATE,
            named.number(table::FLAGS, flags),
        );
    }

    pub(super) fn delete_table(&mut self) {
        let named = Attributes::default().text(table::NAME, self.table);
        self.push(Kind::DeleteTable, 0, named);
    }

    pub(super) fn set(&mut self, new: Set) {
        let description = Attributes::default().number(set::DESCRIPTION_SIZE, new.limit);
        let attributes = Attributes::default()
            .text(set::TABLE, self.table)
            .text(set::NAME, new.name)
            .number(set::FLAGS, set::IS_FILLED_BY_RULES)
            .number(set::KEY_TYPE, set::NO_TYPE)
            .number(set::KEY_BYTES, new.key_bytes)
            .nested(set::DESCRIPTION, description)
            .number(set::ID, new.id);
        self.push(Kind::NewSet, flag::CREATE, attributes);
    }

    /// Adds a chain at a hook, through which packets pass. Of two chains at one hook, the one with
    /// the lower priority is the first.
    pub(super) fn chain(&mut self, name: &str, kind: ChainKind, hook: Hook, priority: i32) {
        let position = Attributes::default()
            .number(chain::HOOK_NUMBER, hook as u32)
            .number(chain::HOOK_PRIORITY, priority.cast_unsigned());
        let attributes = self.named_chain(name).nested(chain::HOOK, position);
        self.push(
            Kind::NewChain,
            flag::CREATE,
            attributes.text(chain::KIND, kind.name()),
        );
    }

    /// Adds a chain to which only rules send packets.
    pub(super) fn inner_chain(&mut self, name: &str) {
        self.push(Kind::NewChain, flag::CREATE, self.named_chain(name));
    }

    fn named_chain(&self, name: &str) -> Attributes {
        Attributes::default()
            .text(chain::TABLE, self.table)
            .text(chain::NAME, name)
    }

    pub(super) fn rule(&mut self, chain: &str, expressions: Vec<Attributes>) {
        let append = |list: Attributes, one| list.nested(rule::EXPRESSION, one);
        let list = expressions.into_iter().fold(Attributes::default(), append);
        let attributes = Attributes::default()
            .text(rule::TABLE, self.table)
            .text(rule::CHAIN, chain)
            .nested(rule::EXPRESSIONS, list);
        self.push(Kind::NewRule, flag::CREATE | flag::APPEND, attributes);
    }

    /// Sends the batch. The kernel reports a refusal of any message, and acknowledges the last one
    /// if there was none.
    pub(super) fn commit(mut self, socket: &Socket) -> io::Result<()> {
        let last = self.messages.pop().map(Message::acknowledged);
        self.messages.extend(last);
        self.messages.push(bound(BATCH_END));
        socket.ask(self.messages)
    }
}

/// Returns the first or the last message of a batch, which names the subsystem.
fn bound(kind: u16) -> Message {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    Message::new(kind, 0, &[0, 0, high, low], Attributes::default())
}

/// `struct nfgenmsg` (linux/netfilter/nfnetlink.h): family, version, resource.
fn header(family: u8) -> [u8; HEADER_BYTES] {
    [family, 0, 0, 0]
}

const HEADER_BYTES: usize = 4;

/// Lists the keys of a set of a table.
pub(super) fn keys(socket: &Socket, table: &str, set: Set) -> io::Result<Vec<Vec<u8>>> {
    let named = Attributes::default()
        .text(elements::TABLE, table)
        .text(elements::SET, set.name);
    let kind = Kind::GetElements.number();
    let replies = socket.list(Message::new(kind, 0, &header(family::INET), named))?;
    Ok(replies.iter().flat_map(|reply| keys_of(reply)).collect())
}

/// Returns the keys in one message of a list.
fn keys_of(reply: &[u8]) -> Vec<Vec<u8>> {
    let content = reply.get(HEADER_BYTES..).unwrap_or_default();
    let list = attribute(content, elements::LIST).unwrap_or_default();
    let mut keys = Vec::new();
    for (kind, element) in attributes(list) {
        if kind != elements::ELEMENT {
            continue;
        }
        let key = attribute(element, elements::KEY);
        let value = key.and_then(|key| attribute(key, data::VALUE));
        keys.extend(value.map(<[u8]>::to_vec));
    }
    keys
}

fn expression(name: &str, data: Attributes) -> Attributes {
    Attributes::default()
        .text(rule::EXPRESSION_NAME, name)
        .nested(rule::EXPRESSION_DATA, data)
}

fn value_of(bytes: &[u8]) -> Attributes {
    Attributes::default().with(data::VALUE, bytes)
}

/// Masquerades: the packet gets the address of the interface that it leaves by.
pub(super) fn masquerade() -> Attributes {
    expression("masq", Attributes::default())
}

/// Loads a fact about the packet into the first register.
pub(super) fn load_fact(fact: Fact) -> Attributes {
    let to = Attributes::default().number(meta::TO, Register::First as u32);
    expression("meta", to.number(meta::KEY, fact as u32))
}

/// Marks the packet with what is in the first register.
pub(super) fn set_mark() -> Attributes {
    let key = Attributes::default().number(meta::KEY, Fact::Mark as u32);
    expression("meta", key.number(meta::FROM, Register::First as u32))
}

/// Loads bytes of a header into the first register.
pub(super) fn load(header: Header, offset: u32, bytes: usize) -> Attributes {
    let data = Attributes::default()
        .number(payload::TO, Register::First as u32)
        .number(payload::BASE, header as u32)
        .number(payload::OFFSET, offset)
        .number(payload::BYTES, bytes as u32);
    expression("payload", data)
}

/// Loads the state of the packet's connection into the first register.
pub(super) fn load_state() -> Attributes {
    let to = Attributes::default().number(ct::TO, Register::First as u32);
    expression("ct", to.number(ct::KEY, ct::STATE))
}

/// Returns the bits of a state for a packet that belongs to a connection, or is an error about one.
pub(super) fn belongs_to_a_connection() -> [u8; 4] {
    (ct::IS_ESTABLISHED | ct::IS_RELATED).to_ne_bytes()
}

/// Continues with the rule only if the first register compares as wanted.
pub(super) fn compare(is: Is, bytes: &[u8]) -> Attributes {
    let data = Attributes::default()
        .number(cmp::FROM, Register::First as u32)
        .number(cmp::OPERATION, is as u32)
        .nested(cmp::DATA, value_of(bytes));
    expression("cmp", data)
}

/// Keeps the bits of a mask in the first register.
pub(super) fn keep(mask: &[u8]) -> Attributes {
    let data = Attributes::default()
        .number(bitwise::FROM, Register::First as u32)
        .number(bitwise::TO, Register::First as u32)
        .number(bitwise::BYTES, mask.len() as u32)
        .nested(bitwise::MASK, value_of(mask))
        .nested(bitwise::XOR, value_of(&vec![0; mask.len()]));
    expression("bitwise", data)
}

/// Loads these bytes into a register.
pub(super) fn hold(register: Register, bytes: &[u8]) -> Attributes {
    let to = Attributes::default().number(immediate::TO, register as u32);
    expression("immediate", to.nested(immediate::DATA, value_of(bytes)))
}

/// Ends the rule with a verdict.
pub(super) fn end(verdict: Verdict<'_>) -> Attributes {
    let code = |code: i32| Attributes::default().number(data::VERDICT_CODE, code.cast_unsigned());
    let code = match verdict {
        Verdict::Drop => code(NF_DROP),
        Verdict::Accept => code(NF_ACCEPT),
        Verdict::GoTo(chain) => code(NFT_GOTO).text(data::VERDICT_CHAIN, chain),
    };
    let to = Attributes::default().number(immediate::TO, VERDICT_REGISTER);
    let verdict = Attributes::default().nested(data::VERDICT, code);
    expression("immediate", to.nested(immediate::DATA, verdict))
}

/// Adds the first register to a set.
pub(super) fn add_to(set: Set) -> Attributes {
    let data = Attributes::default()
        .text(dynset::SET, set.name)
        .number(dynset::SET_ID, set.id)
        .number(dynset::OPERATION, dynset::ADD)
        .number(dynset::KEY, Register::First as u32);
    expression("dynset", data)
}

/// Sends the packet to the address in the first register, at the port in the second.
pub(super) fn send_to(family: u8) -> Attributes {
    let data = Attributes::default()
        .number(nat::KIND, nat::OF_DESTINATION)
        .number(nat::FAMILY, family.into())
        .number(nat::ADDRESS, Register::First as u32)
        .number(nat::PORT, Register::Second as u32);
    expression("nat", data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_out_of_an_answer_and_nothing_else() {
        let element = Attributes::default().nested(elements::KEY, value_of(&[10, 0, 0, 1]));
        let list = Attributes::default().nested(elements::ELEMENT, element);
        let attributes = Attributes::default()
            .text(elements::SET, "s")
            .nested(elements::LIST, list);
        let answer = Message::new(0, 0, &header(family::INET), attributes);
        assert_eq!(keys_of(answer.body()), [[10, 0, 0, 1]]);
        for length in 0..answer.body().len() {
            assert!(keys_of(&answer.body()[..length]).is_empty(), "{length}");
        }
    }
}
