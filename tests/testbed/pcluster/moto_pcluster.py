"""moto, plus the few things that it lacks to hold the stacks of aws-parallelcluster.

    MOTO_AMIS_PATH=amis.json MOTO_IAM_LOAD_MANAGED_POLICIES=true python moto_pcluster.py -H 127.0.0.1 -p PORT

Each patch says what was wrong in moto 5.2.5; nothing touches aws-parallelcluster. MOTO_PCLUSTER_SIM names
a JSON file, read at each look, that plays time and failure of a cluster's stack:

    boot_s        seconds from the creation to the head node's signal
    boot_error    the signal is a failure, with this reason
    delete_s      seconds in DELETE_IN_PROGRESS
    delete_error  then DELETE_FAILED, with this reason
"""

# mypy: ignore-errors
# ruff: noqa: E501
# It reaches into moto's insides, which have no types that would help.
from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def sim(key, default=None):
    """One value of the played world."""
    path = Path(os.environ.get("MOTO_PCLUSTER_SIM") or "/dev/null")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return json.loads(text or "{}").get(key, default)


def patch():
    """Apply all patches."""
    _yaml_getatt()
    _cfn_models()
    _nested_stack_outputs()
    _security_group_ports()
    _bucket_properties()
    _bucket_policy_conditions()
    _ephemeral_devices()
    _instance_from_launch_template()
    _route_tables_go()
    _nat_gateways_go()
    _stack_time()


def _yaml_getatt():
    """`!GetAtt [A, B]` in block form became ScalarNodes."""
    from moto.cloudformation import models, utils

    original = utils.yaml_tag_constructor

    def constructor(loader, tag, node):
        if tag == "!GetAtt" and isinstance(node.value, list):
            return {"Fn::GetAtt": [loader.construct_object(n, deep=True) for n in node.value]}
        return original(loader, tag, node)

    utils.yaml_tag_constructor = constructor
    models.yaml_tag_constructor = constructor


def _cfn_models():
    """A resource type moto does not know was skipped, and a GetAtt of it ended the create with an error."""
    from moto.cloudformation import parsing
    from moto.core.common_models import CloudFormationModel

    class AnyResource(CloudFormationModel):
        __module__ = "moto.cloudformation.any"  # the metaclass files a model under its moto package

        def __init__(self, name, rtype, properties):
            self.name, self.type, self.properties = name, rtype, properties
            self.born = time.monotonic()

        @property
        def physical_resource_id(self):
            return self.name

        @staticmethod
        def cloudformation_name_type():
            return ""

        @staticmethod
        def cloudformation_type():
            return "CloudQ::Test::Any"

        @classmethod
        def has_cfn_attr(cls, attr):
            return True

        def get_cfn_attribute(self, attribute_name):
            if attribute_name == "Arn":
                return f"arn:aws:test:::{self.name}"
            return f"{self.name}.{attribute_name}"

        def is_created(self):
            # the head node's boot: cfn-signal ends the wait.  Here it ends by itself after a while.
            if self.type == "AWS::CloudFormation::WaitCondition":
                return self.waited() and not sim("boot_error")
            return True

        def waited(self):
            return time.monotonic() - self.born >= float(sim("boot_s", 0))

        @classmethod
        def create_from_cloudformation_json(
            cls, resource_name, cloudformation_json, account_id, region_name, **kwargs
        ):
            return cls(resource_name, kwargs.get("ResourceType"), cloudformation_json.get("Properties", {}))

        @classmethod
        def update_from_cloudformation_json(
            cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name
        ):
            original_resource.properties = cloudformation_json.get("Properties", {})
            return original_resource

        @classmethod
        def delete_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name):
            return None

    def class_from_type(resource_type):
        if resource_type in parsing.get_model_map() and resource_type not in parsing.NULL_MODELS:
            return parsing.get_model_map()[resource_type]
        return AnyResource

    parsing.resource_class_from_type = class_from_type


def _nested_stack_outputs():
    """GetAtt Outputs.X of a nested stack was missing."""
    from moto.cloudformation.models import Stack

    def get_cfn_attribute(self, attribute_name):
        prefix = "Outputs."
        if attribute_name.startswith(prefix):
            return self.output_map[attribute_name[len(prefix) :]].value
        return self.name

    Stack.get_cfn_attribute = get_cfn_attribute


def _security_group_ports():
    """FromPort and ToPort are optional with IpProtocol -1; moto wanted them."""
    from moto.ec2.models.security_groups import SecurityGroup

    original = SecurityGroup.create_from_cloudformation_json.__func__

    def create(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        for key in ("SecurityGroupIngress", "SecurityGroupEgress"):
            for rule in cloudformation_json["Properties"].get(key, []):
                rule.setdefault("FromPort", -1)
                rule.setdefault("ToPort", -1)
        return original(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs)

    SecurityGroup.create_from_cloudformation_json = classmethod(create)


def _bucket_properties():
    """A bucket made by a stack lost VersioningConfiguration."""
    from moto.s3.models import FakeBucket

    original = FakeBucket.create_from_cloudformation_json.__func__

    def create(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        bucket = original(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs)
        status = cloudformation_json.get("Properties", {}).get("VersioningConfiguration", {}).get("Status")
        if status:
            bucket.versioning_status = status
        return bucket

    FakeBucket.create_from_cloudformation_json = classmethod(create)


def _bucket_policy_conditions():
    """moto ignores Condition, so `Deny unless aws:SecureTransport` denied everything."""
    from moto.s3.models import FakeBucket

    original = FakeBucket.get_permission

    def get_permission(self, action, resource):
        if not self.policy:
            return original(self, action, resource)
        kept = self.policy
        policy = json.loads(kept)
        statements = policy.get("Statement", [])
        statements = statements if isinstance(statements, list) else [statements]
        policy["Statement"] = [
            s for s in statements if not (s.get("Effect") == "Deny" and s.get("Condition"))
        ]
        if not policy["Statement"]:
            from moto.iam.access_control import PermissionResult

            return PermissionResult.NEUTRAL
        try:
            self.policy = json.dumps(policy).encode()
            return original(self, action, resource)
        finally:
            self.policy = kept

    FakeBucket.get_permission = get_permission


def _ephemeral_devices():
    """Refused: a mapping with VirtualName (ephemeral0 ...) and no Ebs, and a root volume with the AMI's own size."""
    from moto.ec2.responses.instances import InstanceResponse

    original = InstanceResponse._parse_block_device_mapping

    def parse(self):
        getter = self._get_param
        given = getter("BlockDeviceMappings", [])
        kept = []
        for mapping in given:
            if mapping.get("VirtualName") and "Ebs" not in mapping:
                continue
            if "Ebs" in mapping and not mapping["Ebs"].get("SnapshotId"):
                mapping["Ebs"].setdefault("VolumeSize", 45)
            kept.append(mapping)
        self._get_param = lambda name, default=None: (
            kept if name == "BlockDeviceMappings" else getter(name, default)
        )
        try:
            return original(self)
        finally:
            del self._get_param

    InstanceResponse._parse_block_device_mapping = parse


def _instance_from_launch_template():
    """AWS::EC2::Instance with nothing but a LaunchTemplate was a KeyError; its tags and subnet come from there."""
    from moto.ec2.models import ec2_backends
    from moto.ec2.models.instances import Instance

    original = Instance.create_from_cloudformation_json.__func__

    def create(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        properties = cloudformation_json["Properties"]
        reference = properties.get("LaunchTemplate")
        if reference and "ImageId" not in properties:
            backend = ec2_backends[account_id][region_name]
            template = backend.launch_templates[reference["LaunchTemplateId"]]
            data = template.get_version(reference.get("Version", "$Latest")).data
            properties["ImageId"] = data["ImageId"]
            properties["InstanceType"] = data.get("InstanceType")
            properties["KeyName"] = data.get("KeyName")
            properties["IamInstanceProfile"] = (data.get("IamInstanceProfile") or {}).get("Name")
            nic = (data.get("NetworkInterfaces") or [{}])[0]
            eni = backend.enis.get(nic.get("NetworkInterfaceId"))
            if eni:
                properties["SubnetId"] = eni.subnet.id
            tags = [
                t
                for spec in data.get("TagSpecifications", [])
                if spec.get("ResourceType") == "instance"
                for t in spec.get("Tags", [])
            ]
            properties["Tags"] = list(properties.get("Tags") or []) + tags
        return original(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs)

    Instance.create_from_cloudformation_json = classmethod(create)


def _route_tables_go():
    """Route tables of a stack stayed, so its VPC could not be deleted: DeleteStack itself was the error."""
    from moto.ec2.models import ec2_backends
    from moto.ec2.models.route_tables import RouteTable

    def delete(cls, resource_name, cloudformation_json, account_id, region_name):
        tables = ec2_backends[account_id][region_name].route_tables
        if resource_name in tables:
            tables.pop(resource_name)

    RouteTable.delete_from_cloudformation_json = classmethod(delete)


def _nat_gateways_go():
    """A NAT gateway of a stack stayed when the stack was deleted."""
    from moto.ec2.models import ec2_backends
    from moto.ec2.models.nat_gateways import NatGateway

    def delete(cls, resource_name, cloudformation_json, account_id, region_name):
        backend = ec2_backends[account_id][region_name]
        if resource_name in backend.nat_gateways:
            backend.delete_nat_gateway(resource_name)

    NatGateway.delete_from_cloudformation_json = classmethod(delete)


def _stack_time():
    """moto's stacks are ready at once and have no events of their resources; a test of progress needs both."""
    from moto.cloudformation import parsing
    from moto.cloudformation.models import CloudFormationBackend, Event, Stack, cloudformation_backends

    def event(stack, logical_id, physical_id, rtype, status, reason=None):
        stack.events.append(
            Event(stack.stack_id, stack.name, logical_id, physical_id, rtype, status, reason, None)
        )

    make = parsing.parse_and_create_resource

    def parse_and_create_resource(logical_id, resource_json, resources_map, account_id, region_name):
        stack = cloudformation_backends[account_id][region_name].stacks.get(resources_map.stack_id)
        rtype = resource_json["Type"]
        try:
            made = make(logical_id, resource_json, resources_map, account_id, region_name)
        except Exception as error:
            if stack is not None:
                event(stack, logical_id, "", rtype, "CREATE_FAILED", str(error))
            raise
        if stack is not None and made is not None:
            physical = getattr(made, "physical_resource_id", "")
            event(stack, logical_id, physical, rtype, "CREATE_IN_PROGRESS")
            if made.is_created():
                event(stack, logical_id, physical, rtype, "CREATE_COMPLETE")
        return made

    parsing.parse_and_create_resource = parse_and_create_resource

    def is_cluster(stack):
        return "parallelcluster:version" in (stack.tags or {}) and stack.name == stack.tags.get(
            "parallelcluster:cluster-name"
        )

    def look(stack, backend):
        if stack.status == "CREATE_IN_PROGRESS":
            waits = [
                (k, r)
                for k, r in stack.resource_map._parsed_resources.items()
                if getattr(r, "type", "") == "AWS::CloudFormation::WaitCondition"
            ]
            reason = sim("boot_error")
            if reason and any(r.waited() for _, r in waits):
                for key, resource in waits:
                    event(stack, key, resource.name, resource.type, "CREATE_FAILED", reason)
                stack._add_stack_event(
                    "ROLLBACK_IN_PROGRESS",
                    f"The following resource(s) failed to create: [{', '.join(k for k, _ in waits)}].",
                )
                stack.status = "ROLLBACK_COMPLETE"
                stack._add_stack_event("ROLLBACK_COMPLETE")
            elif all(r.waited() for _, r in waits):
                for key, resource in waits:
                    event(stack, key, resource.name, resource.type, "CREATE_COMPLETE")
                stack.verify_readiness()
        elif stack.status == "DELETE_IN_PROGRESS" and time.monotonic() >= stack.gone_at:
            if sim("delete_error"):
                stack.status = "DELETE_FAILED"
                stack._add_stack_event("DELETE_FAILED", sim("delete_error"))
            else:
                really_delete(backend, stack.stack_id)

    describe = CloudFormationBackend.describe_stacks
    events = CloudFormationBackend.describe_stack_events
    really_delete = CloudFormationBackend.delete_stack

    def looked(original):
        def method(self, name):
            for stack in list(self.stacks.values()):
                look(stack, self)
            return original(self, name)

        return method

    def full_buckets(stack):
        from moto.s3.models import FakeBucket

        for key, resource in stack.resource_map._parsed_resources.items():
            if not isinstance(resource, FakeBucket) or not len(resource.keys):
                continue
            if stack.template_dict["Resources"][key].get("DeletionPolicy") != "Retain":
                yield key, resource.name

    def delete_stack(self, name_or_stack_id):
        for stack in list(self.stacks.values()):
            if name_or_stack_id not in (stack.name, stack.stack_id):
                continue
            full = list(full_buckets(stack))
            if full:  # as AWS does: the call is fine, the stack ends in DELETE_FAILED
                stack._add_stack_event("DELETE_IN_PROGRESS", "User Initiated")
                for key, bucket in full:
                    event(
                        stack,
                        key,
                        bucket,
                        "AWS::S3::Bucket",
                        "DELETE_FAILED",
                        "The bucket you tried to delete is not empty. You must delete all versions in the bucket.",
                    )
                stack.status = "DELETE_FAILED"
                stack._add_stack_event(
                    "DELETE_FAILED",
                    f"The following resource(s) failed to delete: [{', '.join(k for k, _ in full)}]. ",
                )
                return None
            if is_cluster(stack) and (sim("delete_s") or sim("delete_error")):
                if stack.status != "DELETE_IN_PROGRESS":
                    stack.status = "DELETE_IN_PROGRESS"
                    stack.gone_at = time.monotonic() + float(sim("delete_s", 0))
                    stack._add_stack_event("DELETE_IN_PROGRESS", "User Initiated")
                return None
        return really_delete(self, name_or_stack_id)

    CloudFormationBackend.describe_stacks = looked(describe)
    CloudFormationBackend.describe_stack_events = looked(events)
    CloudFormationBackend.delete_stack = delete_stack
    Stack.gone_at = 0.0


if __name__ == "__main__":
    patch()
    from moto.server import main

    main(sys.argv[1:])
